//! Delivery to a real rsyslog over its unix socket: what arrives, and that nothing is lost while it is away.

use crate::common::rsyslog::{Line, Rsyslog};
use crate::common::watcher::Setup;
use crate::common::{self, Alert, Container};

fn setup(rsyslog: &Rsyslog) -> Setup {
    let target = format!("unix:{}", rsyslog.socket().display());
    Setup::new().set("syslog", "enabled", true).set("syslog", "target", target)
}

fn container() -> Container {
    let container = Container::start();
    container.put("f.c", "int f;\n");
    container
}

#[test]
fn an_alert_is_one_line_of_the_local_syslog() {
    let rsyslog = Rsyslog::started();
    let container = container();
    let watcher = setup(&rsyslog).start();
    container.exec(&["gcc", "-c", "f.c"]);
    let said = watcher.await_closed(&container.id);
    let line = rsyslog.await_line("closed", |l| l.alert().is_of(&container.id) && l.alert().state() == "closed");
    assert_eq!((line.facility.as_str(), line.tag.as_str()), ("authpriv", "ccwatch"));
    assert_eq!(line.pid, watcher.pid().to_string());
    let priority = match said.text("ccwatch.severity") {
        "low" => "notice",
        "medium" => "warning",
        "high" => "err",
        _ => "crit",
    };
    assert_eq!(line.severity, priority);
    assert_eq!(line.alert().at("event.id"), said.at("event.id"));
    line.alert().assert_counts(&[("gcc", 1), ("cc1", 1), ("as", 1)]);
    watcher.stop();
}

#[test]
fn facility_tag_and_cookie_are_configured() {
    let rsyslog = Rsyslog::started();
    let container = container();
    let setup = setup(&rsyslog).set("syslog", "facility", "local3").set("syslog", "tag", "builds");
    let watcher = setup.set("syslog", "cookie", "@cee:").start();
    container.exec(&["gcc", "-c", "f.c"]);
    watcher.await_closed(&container.id);
    let ours = |line: &Line| line.message.contains("\"closed\"") && line.message.contains(&container.id);
    let line = rsyslog.await_line("closed", ours);
    assert_eq!((line.facility.as_str(), line.tag.as_str()), ("local3", "builds"));
    let json = line.message.trim_start().strip_prefix("@cee:").unwrap();
    assert!(Alert::parse(json).is_of(&container.id));
    watcher.stop();
}

/// The socket is not there at the start, comes, goes and comes again: every alert arrives, once, in order.
#[test]
fn nothing_is_lost_while_it_is_away() {
    let mut rsyslog = Rsyslog::new();
    let container = container();
    let watcher = setup(&rsyslog).start();
    let mut sessions = 0;
    let mut session = || {
        sessions += 1;
        // Another root command each time: a session like one before would still be a session of its own.
        container.exec(&["sh", "-c", &format!("gcc -c f.c -o {sessions}.o")]);
        let mine = |a: &&Alert| a.is_of(&container.id) && a.state() == "closed";
        common::eventually("closed", || (watcher.alerts().iter().filter(mine).count() == sessions).then_some(()));
    };
    session();
    rsyslog.start();
    session();
    rsyslog.stop();
    session();
    rsyslog.start();
    session();
    let said = watcher.stop();
    let ids = |alerts: &mut dyn Iterator<Item = Alert>| -> Vec<String> {
        alerts.filter(|a| a.is_of(&container.id)).map(|a| a.text("event.id").to_owned()).collect()
    };
    let said = ids(&mut said.into_iter());
    assert_eq!(said.len(), 8);
    rsyslog.await_line("the last", |line| line.alert().text("event.id") == said[7]);
    assert_eq!(ids(&mut rsyslog.lines().iter().map(|line| line.alert())), said);
}
