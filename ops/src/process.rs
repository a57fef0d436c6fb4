//! What the kernel knows of this process, for the metrics endpoint.

use crate::metrics::write_head;
use std::fmt::Write as _;
use std::fs;

/// Ticks of `/proc/self/stat` a second: what the kernel shows to programs, whatever it uses itself.
const TICKS_PER_SECOND: u64 = 100;

/// Ticks are those of `sysconf(_SC_CLK_TCK)`, 100 a second; `started_ticks` counts from the boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub user_ticks: u64,
    pub system_ticks: u64,
    pub started_ticks: u64,
    pub virtual_bytes: u64,
    pub resident_bytes: u64,
    pub files: u64,
    pub files_max: u64,
    pub boot_unix_s: u64,
}

impl Process {
    /// As they are now. What cannot be read is 0.
    pub fn read() -> Process {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut process = Process::default();
        process.take_stat(&text("/proc/self/stat"));
        process.take_status(&text("/proc/self/status"));
        process.files = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
        process.files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let boot = text("/proc/stat");
        process.boot_unix_s = number(boot.lines().find_map(|line| line.strip_prefix("btime ")));
        process
    }

    fn take_stat(&mut self, stat: &str) {
        // The name of the program stands in parentheses and may hold anything.
        let Some((_, rest)) = stat.rsplit_once(')') else { return };
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        self.user_ticks = number(fields.get(11).copied());
        self.system_ticks = number(fields.get(12).copied());
        self.started_ticks = number(fields.get(19).copied());
    }

    fn take_status(&mut self, status: &str) {
        self.virtual_bytes = kilobytes(status, "VmSize:");
        self.resident_bytes = kilobytes(status, "VmRSS:");
    }

    /// The families that Prometheus' own client libraries have.
    pub fn write_metrics(&self, text: &mut String) {
        let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND as f64;
        let families = [
            (
                "process_cpu_seconds_total",
                "counter",
                "User and system CPU time.",
                seconds(self.user_ticks + self.system_ticks),
            ),
            ("process_resident_memory_bytes", "gauge", "Resident memory.", self.resident_bytes as f64),
            ("process_virtual_memory_bytes", "gauge", "Virtual memory.", self.virtual_bytes as f64),
            ("process_open_fds", "gauge", "Open file descriptors.", self.files as f64),
            ("process_max_fds", "gauge", "Limit of open file descriptors.", self.files_max as f64),
            (
                "process_start_time_seconds",
                "gauge",
                "Start of the process in Unix time.",
                self.boot_unix_s as f64 + seconds(self.started_ticks),
            ),
        ];
        for (name, kind, help, value) in families {
            write_head(text, name, help, kind);
            let _ = writeln!(text, "{name} {value}");
        }
    }
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The value of a `Name:  123 kB` line, in bytes.
fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    number(line.and_then(|line| line.split_ascii_whitespace().next())) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_the_name_is() {
        let mut process = Process::default();
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        process.take_stat(&format!("12 (a) b) {}", fields.join(" ")));
        process.take_status("VmSize:\t  8 kB\nVmRSS:\t  4 kB\n");
        // By the numbers of proc(5): utime 14, stime 15, starttime 22.
        assert_eq!((process.user_ticks, process.system_ticks, process.started_ticks), (14, 15, 22));
        assert_eq!((process.virtual_bytes, process.resident_bytes), (8192, 4096));
    }

    #[test]
    fn this_process_has_figures() {
        let process = Process::read();
        assert!(process.resident_bytes > 100_000 && process.files > 2);
        assert!(process.boot_unix_s > 1_500_000_000 && process.started_ticks > 0);
    }
}
