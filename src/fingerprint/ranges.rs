//! Ranges of a file's bytes: in order, neither overlapping nor touching. Pure.

use std::ops::Range;

/// The bytes of a part that lie in the ranges, and where in the file they stand.
pub(super) fn overlaps<'p>(
    ranges: &'p [Range<u64>],
    part: &'p [u8],
    offset: u64,
) -> impl Iterator<Item = (&'p [u8], u64)> + 'p {
    let first = ranges.partition_point(|range| range.end <= offset);
    let end = offset + part.len() as u64;
    let behind = ranges.get(first..).unwrap_or_default();
    behind.iter().take_while(move |range| range.start < end).filter_map(move |range| {
        let start = range.start.max(offset);
        let [from, to] = [start, range.end.min(end)].map(|at| usize::try_from(at - offset).ok());
        Some((part.get(from?..to?)?, start))
    })
}

/// What of some ranges lies in none of the others.
pub(super) fn without(ranges: &[Range<u64>], others: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    for range in ranges {
        let mut start = range.start;
        let first = others.partition_point(|other| other.end <= start);
        for other in others.get(first..).unwrap_or_default().iter().take_while(|other| other.start < range.end) {
            left.push(start..other.start.max(start));
            start = other.end;
        }
        left.push(start..range.end.max(start));
    }
    left.retain(|range| !range.is_empty());
    left
}

/// How many bytes there are in ranges.
pub(super) fn length(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// The first and the last of the bytes, so many in all: what stands between a beginning and an end is left out.
pub(super) fn ends(ranges: &[Range<u64>], limit: u64) -> Vec<Range<u64>> {
    let all = length(ranges);
    if all <= limit {
        return ranges.to_vec();
    }
    let head = limit - limit / 2;
    let tail = all - limit / 2;
    let (mut kept, mut passed) = (Vec::new(), 0);
    for range in ranges {
        let length = range.end - range.start;
        // How many bytes of this range stand before the middle, and after it.
        let before = head.saturating_sub(passed).min(length);
        let after = (passed + length).saturating_sub(tail).min(length - before);
        kept.push(range.start..range.start + before);
        kept.push(range.end - after..range.end);
        passed += length;
    }
    kept.retain(|range| !range.is_empty());
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init)]

    use super::*;

    #[test]
    fn what_is_in_others_is_left_out() {
        for (ranges, others, left) in [
            (vec![0..10], vec![], vec![0..10]),
            (vec![0..10], vec![0..10], vec![]),
            (vec![0..10], vec![2..3, 5..7], vec![0..2, 3..5, 7..10]),
            (vec![0..10, 20..30], vec![5..25], vec![0..5, 25..30]),
            (vec![5..6], vec![0..5, 6..7], vec![5..6]),
            (vec![0..10], vec![8..20], vec![0..8]),
            (vec![], vec![8..20], vec![]),
        ] {
            assert_eq!(without(&ranges, &others), left, "{ranges:?} {others:?}");
        }
    }

    #[test]
    fn both_ends_are_kept() {
        for (ranges, limit, kept) in [
            (vec![0..10, 20..30], 20, vec![0..10, 20..30]),
            (vec![0..10, 20..30], 10, vec![0..5, 25..30]),
            (vec![0..10, 20..30], 5, vec![0..3, 28..30]),
            (vec![0..10, 20..30], 1, vec![0..1]),
            (vec![0..10, 20..30], 0, vec![]),
            (vec![0..100], 10, vec![0..5, 95..100]),
            (vec![0..2, 10..12, 20..22], 3, vec![0..2, 21..22]),
            (vec![0..2, 10..12, 20..22], 5, vec![0..2, 10..11, 20..22]),
            (vec![], 5, vec![]),
        ] {
            assert_eq!(ends(&ranges, limit), kept, "{ranges:?} {limit}");
            assert_eq!(length(&kept), limit.min(length(&ranges)));
        }
    }

    #[test]
    fn the_parts_of_a_part_are_told_with_their_places() {
        let of = |ranges: &[Range<u64>]| -> Vec<(Vec<u8>, u64)> {
            overlaps(ranges, b"0123456789", 100).map(|(bytes, at)| (bytes.to_vec(), at)).collect()
        };
        assert_eq!(of(&[0..100, 110..120]), []);
        assert_eq!(
            of(&[0..102, 105..106, 109..200]),
            [(b"01".to_vec(), 100), (b"5".to_vec(), 105), (b"9".to_vec(), 109)]
        );
    }
}
