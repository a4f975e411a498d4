//! stub
pub mod dispatch {
    //! stub
    use crate::{alert::*, config::*, error::Result, host::identity::HostFacts};
    /// s
    pub struct Dispatch {
        host: HostFacts,
        ids: std::sync::Mutex<(crate::alert::id::IdSource, u64)>,
        form: Option<Message>,
    }
    impl Dispatch {
        /// s
        pub fn start(_: &Config, host: HostFacts, form: Option<Message>) -> Result<Self> {
            Ok(Self { host, ids: std::sync::Mutex::new((crate::alert::id::IdSource::new(), 0)), form })
        }
        /// s
        pub fn send(&self, a: Alert) -> bool {
            let mut g = self.ids.lock().unwrap();
            g.1 += 1;
            let s = g.1;
            let id = g.0.next(a.made);
            let d = crate::alert::compose::document(&a, &self.host, crate::alert::compose::Stamp { id, sequence: s });
            if self.form == Some(Message::Ecs) {
                println!("{}", String::from_utf8(crate::alert::json::line(&d)).unwrap().trim())
            } else {
                println!("{}", d.message)
            }
            true
        }
        /// s
        pub fn reopen(&self) {}
        /// s
        pub fn reconfigure(&self, _: &Config) {}
        /// s
        pub fn flush_and_stop(&self, _: std::time::Duration) {}
    }
}
