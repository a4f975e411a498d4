//! Go's build information, in both forms, and damaged. Test only.

use super::*;

#[test]
fn go_build_info_is_read_in_both_forms() {
    let module = b"................path\tcmd/demo\nmod\tcmd\n................";
    let version = b"go1.19.8";
    let at = Sample::body_at(elf::file::Class::ELF64, 1);
    // Aligned to 16, as Go's linker does.
    let body = |info: Vec<u8>| [vec![0; (at.next_multiple_of(16) - at) as usize], info].concat();
    let inline = demo(&Sample::program(&body(inline_info(version, module))));
    assert_eq!((inline.go_version.as_deref(), inline.go_path.as_deref()), (Some("go1.19.8"), Some("cmd/demo")));
    assert_eq!(inline.recognised.unwrap().version.as_deref(), Some("1.19.8"));
    for big in [false, true] {
        for class in [elf::file::Class::ELF32, elf::file::Class::ELF64] {
            let content = demo(&go_by_pointers(class, big, version, module));
            assert_eq!(content.go_version.as_deref(), Some("go1.19.8"), "{class:?} {big}");
            assert_eq!(family(&content), Some("demo"));
            assert_eq!(content.recognised.unwrap().evidence, [Evidence::GoBuildInfo]);
        }
    }
}

fn inline_info(version: &[u8], module: &[u8]) -> Vec<u8> {
    let mut body = b"\xff Go buildinf:\x08\x02".to_vec();
    body.resize(32, 0);
    for text in [version, module] {
        body.push(u8::try_from(text.len()).unwrap());
        body.extend_from_slice(text);
    }
    body
}

/// As Go before 1.18 wrote it.
fn go_by_pointers(class: elf::file::Class, big: bool, version: &[u8], module: &[u8]) -> Vec<u8> {
    let word = if class == elf::file::Class::ELF64 { 8 } else { 4 };
    let mut sample = Sample { class, big, ..Sample::default() };
    let (at, base) = (Sample::body_at(class, 1), 0x10_000);
    sample.body = vec![0; (at.next_multiple_of(16) - at) as usize];
    let info = at + sample.body.len() as u64;
    let headers = base + info + 32;
    let texts = headers + 4 * word as u64;
    sample.body.extend_from_slice(b"\xff Go buildinf:");
    sample.body.extend([word as u8, u8::from(big)]);
    let mut numbers = vec![headers, headers + 2 * word as u64];
    let filling = 16 - 2 * word;
    let pointers: Vec<u8> = numbers.drain(..).flat_map(|n| sample.number(n, word)).collect();
    sample.body.extend(pointers);
    sample.body.extend(vec![0; filling]);
    for (text, length) in [(texts, version.len()), (texts + version.len() as u64, module.len())] {
        let header = [sample.number(text, word), sample.number(length as u64, word)].concat();
        sample.body.extend(header);
    }
    sample.body.extend_from_slice(version);
    sample.body.extend_from_slice(module);
    let size = at + sample.body.len() as u64;
    let kind = elf::abi::PT_LOAD;
    sample.segments = vec![Segment { kind, flags: 6, offset: 0, size, address: base, align: 1 }];
    sample.file()
}

/// A small program cut at every byte, then with every byte of its headers hostile, then with several: no panic.
#[test]
fn survives_hostile_files() {
    let class = elf::file::Class::ELF64;
    let good = go_by_pointers(class, false, b"go1.17", &[b'x'; 100]);
    for cut in 0..good.len() {
        demo(&good[..cut]);
    }
    let mut random = Random::new(5);
    for round in 0..good.len() * 5 {
        let mut bad = good.clone();
        bad[round / 5] = [0, 1, 0x7f, 0x80, 0xff][round % 5];
        demo(&bad);
        for _ in 0..4 {
            let at = random.below(bad.len());
            bad[at] = random.byte();
        }
        demo(&bad);
        limited(&bad, 50);
    }
}
