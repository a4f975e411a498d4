//! Starts the sensors that hear of an exec as it happens: each is proven by an exec of our own before it counts.

use std::path::Path;
use std::sync::Arc;

use super::watcher::{Watcher, spawn};
use crate::config::{Config, FanotifySwitch, Switch};
use crate::detect::triage::Screen;
use crate::error::{Error, Result};
use crate::event::{Fact, SensorKind};
use crate::host::process::Proc;
use crate::sensor::counters::Counters;
use crate::sensor::fanotify::Reader as FanotifyReader;
use crate::sensor::fanotify::far_reader::Reader as FarReader;
use crate::sensor::fanotify_group::{Group, OPENS_ALONE, Way};
use crate::sensor::ledger::Ledger;
use crate::sensor::mounts::{Mounts, watch};
use crate::sensor::pace::Mode;
use crate::sensor::proc_connector::Reader;
use crate::sensor::status::{Coverage, StatusSocket};
use crate::sensor::{Control, ControlInlet, Controls, Outlet, controls};

/// What the sensors share with detection.
pub(super) struct Shared {
    pub(super) proc: Arc<Proc>,
    pub(super) screen: Arc<Screen>,
    pub(super) outlet: Outlet,
    pub(super) counters: Arc<Counters>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) mounts: Arc<Mounts>,
}

fn refused(sensor: SensorKind, why: String) -> Fact {
    Fact::Health { sensor, part: "start", lacks: Some(why) }
}

fn must_run(sensor: &str, reason: String) -> Error {
    Error::Config { act: "start", object: format!("the sensor {sensor}, which must run"), reason }
}

impl Watcher {
    /// Starts the connector's reader; `None` where it cannot be had. It is eager until something else covers the
    /// containers.
    pub(super) fn start_connector(
        &mut self,
        config: &Config,
        shared: &Shared,
        (orders, inlet): (Controls, ControlInlet),
    ) -> Result<Option<Controls>> {
        if config.sensors.proc_connector == Switch::Off {
            self.sensor_lines.push("proc connector: off by configuration".into());
            return Ok(None);
        }
        let (proc, triage) = (Arc::clone(&shared.proc), Arc::clone(&shared.screen));
        let counting = (Arc::clone(&shared.counters), Arc::clone(&shared.ledger), Arc::clone(&shared.mounts));
        let opened = Reader::open(proc, triage, shared.outlet.clone(), inlet, counting, Mode::Eager);
        match opened.and_then(|mut reader| reader.prove().map(|()| reader)) {
            Ok(reader) => {
                shared.ledger.set_connected(true);
                self.sensors.push((orders.clone(), spawn("connector", move || reader.run())?));
                self.sensor_lines.push("proc connector: every exec, looked at while it lives".into());
                Ok(Some(orders))
            }
            Err(why) if config.sensors.proc_connector == Switch::On => Err(must_run("proc-connector", why)),
            Err(why) => {
                self.sensor_lines.push(format!("proc connector: not to be had: {why}"));
                shared.outlet.tell(refused(SensorKind::Connector, why));
                Ok(None)
            }
        }
    }

    /// Marks what containers run from, starts fanotify's reader and the watch over the mounts, and lets the connector
    /// rest; false where fanotify cannot be had.
    pub(super) fn start_fanotify(
        &mut self,
        config: &Config,
        shared: &Shared,
        connector: Option<&Controls>,
        own: (Controls, ControlInlet),
    ) -> Result<bool> {
        if config.sensors.fanotify == FanotifySwitch::Off {
            self.sensor_lines.push("fanotify: off by configuration".into());
            return Ok(false);
        }
        let forced = config.sensors.fanotify == FanotifySwitch::Open;
        let best = if forced { Way::Open } else { Way::Filesystem };
        let started = Group::open(best).and_then(|group| {
            let way = group.way;
            // An open says nothing by itself.
            if way == Way::Open && connector.is_none() {
                return Err(OPENS_ALONE.into());
            }
            self.start_readers(config, shared, Arc::new(group), connector.cloned(), own)?;
            if let Some(connector) = connector.filter(|_| way == Way::Open) {
                connector.send(Control::Names);
            }
            Ok(way)
        });
        match started {
            Ok(way) => {
                self.sensor_lines.push(format!("fanotify: {}", way.describe()));
                Ok(true)
            }
            Err(why) if [FanotifySwitch::On, FanotifySwitch::Open].contains(&config.sensors.fanotify) => {
                Err(must_run("fanotify", why))
            }
            Err(why) => {
                self.sensor_lines.push(format!("fanotify: not to be had: {why}"));
                // Every kernel that is supported has it (2.6.37), so somebody refuses it, or has built the kernel without.
                // That opens are nothing without the connector is the connector's degradation, or was asked for.
                if why != OPENS_ALONE {
                    shared.outlet.tell(refused(SensorKind::Fanotify, why));
                }
                Ok(false)
            }
        }
    }

    /// Has whoever asks told what is covered, where nobody keeps the mounts that would tell of them too.
    pub(super) fn start_telling(&mut self, config: &Config, shared: &Shared) -> Result<()> {
        let Some(socket) = StatusSocket::make(&config.state.directory) else { return Ok(()) };
        let (orders, inlet) = controls()?;
        let (counters, ledger) = (Arc::clone(&shared.counters), Arc::clone(&shared.ledger));
        let coverage = move || Coverage { connector: ledger.is_connected(), ..Coverage::counted(&counters, &ledger) };
        self.sensors.push((orders, spawn("coverage", move || socket.serve(&inlet, coverage))?));
        Ok(())
    }

    fn start_readers(
        &mut self,
        config: &Config,
        shared: &Shared,
        group: Arc<Group>,
        connector: Option<Controls>,
        (orders, inlet): (Controls, ControlInlet),
    ) -> std::result::Result<(), String> {
        let said = |e: Error| e.to_string();
        let (watch_orders, watch_inlet) = controls().map_err(said)?;
        let (mounts, triage, proc) = (Arc::clone(&shared.mounts), Arc::clone(&shared.screen), Arc::clone(&shared.proc));
        let (reader_group, reader_mounts) = (Arc::clone(&group), Arc::clone(&mounts));
        let proc_of_reader = Arc::clone(&proc);
        let telling = (shared.outlet.clone(), Arc::clone(&shared.ledger));
        let mut reader = FanotifyReader::new(reader_group, reader_mounts, proc_of_reader, triage, telling, inlet);
        reader.prove()?;
        shared.ledger.keep();
        let triage = Arc::clone(&shared.screen);
        let (counters, ledger) = (Arc::clone(&shared.counters), Arc::clone(&shared.ledger));
        let far_group = group.beside().map_err(|e| format!("fanotify_init: {e}"))?.map(Arc::new);
        let far = far_group.clone().map(|far| Self::far_reader(shared, far)).transpose().map_err(said)?;
        let state = config.state.directory.clone();
        let parts = watch::Parts { proc, mounts, group, far_group, triage, connector, counters, ledger, state };
        let watch = watch::Watcher::open(Path::new("/proc"), parts, watch_inlet).map_err(|e| {
            shared.ledger.let_go();
            said(e)
        })?;
        self.sensors.push((orders, spawn("fanotify", move || reader.run()).map_err(said)?));
        self.sensors.push((watch_orders, spawn("mounts", move || watch.run()).map_err(said)?));
        if let Some((orders, reader)) = far {
            self.sensors.push((orders, spawn("far", move || reader.run()).map_err(said)?));
        }
        Ok(())
    }

    /// What has the execs of far filesystems read.
    fn far_reader(shared: &Shared, group: Arc<Group>) -> Result<(Controls, FarReader)> {
        let (orders, inlet) = controls()?;
        let (proc, triage) = (Arc::clone(&shared.proc), Arc::clone(&shared.screen));
        let (outlet, mounts) = (shared.outlet.clone(), Arc::clone(&shared.mounts));
        Ok((orders, FarReader::new(group, mounts, (proc, triage), outlet, inlet)))
    }
}
