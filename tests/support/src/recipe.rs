//! The manual recipe of openclaw#44687, as its shell runs it.

use std::process::{Command, Stdio};

use chrono::{TimeDelta, Utc};

use crate::Store;

/// Its first two steps, word for word but for the state directory. The third restarts the gateway.
const RECIPE: &str = r#"
# 1. Clear all session bindings
for agent in main illarion marketer; do
  echo '{}' > /home/user/.openclaw/agents/$agent/sessions/sessions.json
done

# 2. Archive stale session files
find /home/user/.openclaw/agents/*/sessions/ -name "*.jsonl" -mtime +1 \
  -exec mv {} {}.stuck-bak \;
"#;

/// When a rotation made its backups, long before the recorded sessions ended.
pub const OLDER: i64 = 1_795_000_000_000;

impl Store {
    /// Runs the recipe. Every transcript is three days old by then, but for the `young` ones, which it leaves in place.
    pub fn run_recipe(&self, young: &[&str]) {
        let now = Utc::now();
        for file in self.tree().files().iter().filter(|file| file.ends_with(".jsonl")) {
            let is_young = young.iter().any(|name| file.ends_with(name));
            self.set_mtime(file, now - if is_young { TimeDelta::zero() } else { TimeDelta::days(3) });
        }
        let script = RECIPE.replace("/home/user/.openclaw", self.state_dir().to_str().unwrap());
        // For an agent that is not there the recipe fails, and goes on.
        assert!(Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().unwrap().success());
    }

    /// Copies each store as a rotation of OpenClaw would have named it.
    pub fn back_up_stores(&self, millis: i64) {
        for agent in ["main", "illarion", "marketer"] {
            let store = format!("agents/{agent}/sessions/sessions.json");
            if self.exists(&store) {
                self.write(format!("{store}.bak.{millis}"), self.read(&store));
            }
        }
    }
}
