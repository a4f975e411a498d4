//! Any interleaving of what the two sensors say, with losses and events made one: the counts stay right. Test only.

use super::*;
use crate::noise::Random;

enum Report {
    Attempt(Attempt),
    Exec(Counted),
    Look(Looked),
}

impl Report {
    /// An attempt of that moment, as far as anybody can tell.
    fn attempted(pid: i32, file: u64) -> Self {
        Self::Attempt(Attempt { after: Monotonic(MS - 1), ..attempt(pid, file, 1, 2) })
    }

    fn seen(pid: i32, at: Monotonic, ino: u64) -> Self {
        Self::Look(Looked { pid: Pid(pid), at, file: Some(file(ino)), comm: Comm::new(b"x"), is_named: true })
    }

    fn counted(pid: i32, at: Monotonic, image: Image) -> Self {
        Self::Exec(Counted { pid: Pid(pid), at, image })
    }
}

fn any_pid(random: &mut Random) -> i32 {
    i32::try_from(random.below(4)).unwrap()
}

/// Tells in any order what the two sensors say within a millisecond, the connector in drains of any size: how many execs
/// were counted, by a look or by an attempt, and how many attempts were told as unconfirmed.
fn tell(
    merge: &mut Merge,
    random: &mut Random,
    by_fanotify: Vec<Report>,
    mut by_connector: Vec<Report>,
) -> (u64, usize) {
    // Within a drain looks come first.
    let mut start = 0;
    while start < by_connector.len() {
        let end = (start + 1 + random.below(4)).min(by_connector.len());
        by_connector[start..end].sort_by_key(|report| !matches!(report, Report::Look(_)));
        start = end;
    }
    let mut counted = 0;
    let (mut a, mut b) = (by_fanotify.into_iter().peekable(), by_connector.into_iter().peekable());
    while a.peek().is_some() || b.peek().is_some() {
        let first = b.peek().is_none() || (a.peek().is_some() && random.below(2) == 0);
        let merged = match if first { a.next() } else { b.next() }.unwrap() {
            Report::Attempt(attempt) => merge.attempt(attempt),
            Report::Exec(counted) => merge.exec(counted),
            Report::Look(look) => {
                counted += 1;
                merge.look(look);
                None
            }
        };
        counted += u64::from(matches!(merged, Some(Merged::Confirmed(_))));
    }
    let told = merge.due(Monotonic(20 * MS));
    let unconfirmed = told.iter().filter(|merged| matches!(merged, Merged::Unconfirmed(_))).count();
    counted += u64::try_from(told.len() - unconfirmed).unwrap();
    merge.due(Monotonic(5000 * MS));
    (counted, unconfirmed)
}

/// Each exec is counted once, by its look or by its attempt, and failed attempts never.
#[test]
fn any_interleaving_counts_each_exec_once() {
    for seed in 1..3000 {
        let mut random = Random::new(seed * 0x9E37_79B9);
        let (mut by_fanotify, mut by_connector) = (Vec::new(), Vec::new());
        let (mut execs, mut failed, mut innocent) = (0, 0, 0);
        for n in 0..random.below(12) as u64 {
            // A pid of its own for what fails: there no EXEC is to be mistaken for its success.
            let fails = random.below(5) == 0;
            let pid = if fails { 100 + i32::try_from(n).unwrap() } else { any_pid(&mut random) };
            let at = Monotonic(MS + n * 10_000);
            let tool = !fails && random.below(4) == 0;
            by_fanotify.extend((!tool).then(|| Report::attempted(pid, n)));
            if fails {
                failed += 1;
                continue;
            }
            by_connector.push(match random.below(3) {
                _ if tool => Report::counted(pid, at, image(1000 + n)),
                0 => Report::seen(pid, at, n),
                1 => Report::counted(pid, at, image(n)),
                _ => Report::counted(pid, at, Image::Unknown),
            });
            if tool { innocent += 1 } else { execs += 1 }
        }
        let mut merge = merge();
        let told = tell(&mut merge, &mut random, by_fanotify, by_connector);
        assert_eq!((told, merge.take_unexamined()), ((execs, failed), 0), "seed {seed}, {innocent} innocent");
    }
}

/// The kernel makes one event of two that are alike, and drops what finds no room: each EXEC that no attempt explains is
/// unexamined, and no exec is counted that did not happen.
#[test]
fn attempts_that_are_lost_or_made_one_leave_the_sum_right() {
    let mut all = 0;
    for seed in 1..3000 {
        let mut random = Random::new(seed * 0x9E37_79B9);
        let (mut by_fanotify, mut by_connector) = (Vec::new(), Vec::new());
        let (mut execs, mut last) = (0, (0, 0));
        for n in 0..random.below(12) as u64 {
            let again = n > 0 && random.below(4) == 0;
            let (pid, file) = if again { last } else { (any_pid(&mut random), n) };
            last = (pid, file);
            let at = Monotonic(MS + n * 10_000);
            let is_lost = again || random.below(4) == 0;
            by_fanotify.extend((!is_lost).then(|| Report::attempted(pid, file)));
            by_connector.push(match random.below(3) {
                0 => Report::seen(pid, at, file),
                _ => Report::counted(pid, at, Image::Unknown),
            });
            execs += 1;
        }
        let mut merge = merge();
        merge.lose(Monotonic(MS), Monotonic(2 * MS));
        let (counted, unconfirmed) = tell(&mut merge, &mut random, by_fanotify, by_connector);
        let unexamined = merge.take_unexamined();
        assert_eq!((counted + unexamined, unconfirmed), (execs, 0), "seed {seed}");
        assert_eq!(merge.take_lost(Monotonic(5000 * MS)), unexamined, "seed {seed}: as all of it may have been lost");
        all += unexamined;
    }
    assert!(all > 3000, "{all} unexamined");
}

/// What the connector dropped leaves its attempt unconfirmed, and no other one's EXEC is taken for it.
#[test]
fn execs_that_are_lost_leave_their_attempts_unconfirmed() {
    for seed in 1..3000 {
        let mut random = Random::new(seed * 0x9E37_79B9);
        let (mut by_fanotify, mut by_connector) = (Vec::new(), Vec::new());
        let (mut arrived, mut lost) = (0, 0);
        for n in 0..random.below(12) as u64 {
            let (pid, at) = (i32::try_from(n).unwrap(), Monotonic(MS + n * 10_000));
            by_fanotify.push(Report::attempted(pid, n));
            if random.below(4) == 0 {
                lost += 1;
                continue;
            }
            arrived += 1;
            by_connector.push(match random.below(3) {
                0 => Report::seen(pid, at, n),
                1 => Report::counted(pid, at, image(n)),
                _ => Report::counted(pid, at, Image::Unknown),
            });
        }
        let mut merge = merge();
        let told = tell(&mut merge, &mut random, by_fanotify, by_connector);
        assert_eq!((told, merge.take_unexamined()), ((arrived, lost), 0), "seed {seed}");
    }
}
