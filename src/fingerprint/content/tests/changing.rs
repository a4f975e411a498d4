//! Files that change while they are read. Test only.

use super::*;

#[test]
fn a_file_that_shrinks_while_read_is_malformed() {
    let mut size = 200_000_u64;
    let mut shrinking = |buffer: &mut [u8], offset: u64| {
        size = size.min(100_000);
        Ok(buffer.len().min(usize::try_from(size.saturating_sub(offset)).unwrap()))
    };
    assert_eq!(all_data(&mut shrinking, 200_000, LIMIT, &database()), Err(Missing::Malformed));
}

#[test]
fn a_file_that_grows_while_read_is_told_by_its_state() {
    let file = file_of(b"abc");
    let before = file.state().unwrap();
    (&file).write_all(b"d").unwrap();
    assert_ne!(before, file.state().unwrap());
}

/// Looks while another thread does something over and over, with the number of the round.
fn while_another<T>(does: impl Fn(u64) + Send, look: impl FnOnce() -> T) -> T {
    struct Stop<'s>(&'s std::sync::atomic::AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| (0..).take_while(|_| !stop.load(std::sync::atomic::Ordering::Relaxed)).for_each(does));
        look()
    })
}

#[test]
fn a_file_that_another_thread_cuts_and_lengthens_is_read_or_told_to_change() {
    let program = Sample::program(&[MARKED.to_vec(), vec![7; 300_000]].concat());
    let file = file_of(&program);
    let restless = file.try_clone().unwrap();
    let cut =
        |_| [0, 50, 70_000, 1 << 30, program.len() as u64].iter().for_each(|&size| restless.set_len(size).unwrap());
    while_another(cut, || {
        for _ in 0..200 {
            match read(&file, A_MEGABYTE, &database()) {
                Ok(content) => assert!(content.truncated || content.changed || content.sha256.is_some()),
                Err(why) => assert_eq!(why, Missing::Malformed),
            }
        }
    });
    let still = read(&file, A_MEGABYTE, &database()).unwrap();
    assert_eq!((still.truncated, still.changed), (false, false));
}

/// What its owner does to its times must not hide it.
#[test]
fn what_is_recognised_in_a_file_that_changes_stays_recognised() {
    let program = Sample::program(&[MARKED.to_vec(), vec![7; 300_000]].concat());
    let file = file_of(&program);
    let restless = file.try_clone().unwrap();
    let touch = |round| {
        let time = std::time::UNIX_EPOCH + Duration::from_secs(round);
        restless.set_times(std::fs::FileTimes::new().set_modified(time)).unwrap();
    };
    let changed = while_another(touch, || {
        (0..10_000).map(|_| read(&file, NO_LIMIT, &database()).unwrap()).find(|content| content.changed)
    });
    let changed = changed.unwrap();
    assert_eq!(family(&changed), Some("demo"));
    assert_eq!((changed.sha256, changed.code_hash, changed.known_good), (None, None, false));
}
