//! The threads that read.

use super::Failure;

/// So many threads read also where there are fewer cores: while some wait for the disk, another looks at what came.
const FEWEST_THREADS: usize = 3;

/// Starts the threads that read; with one job this one reads, and nothing is started.
pub(super) fn start(jobs: Option<usize>) -> Result<(), Failure> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = jobs.unwrap_or_else(|| cores().max(FEWEST_THREADS));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let built = if jobs == Some(1) { pool.use_current_thread() } else { pool }.build_global();
    match built {
        // Where there is no system's error a second look found the threads of the first.
        Err(error) if std::error::Error::source(&error).is_some() => {
            let error = anyhow::Error::new(error).context("cannot start threads to read with");
            Err(Failure::from(error).hint("--jobs 1 reads without them"))
        }
        _ => Ok(()),
    }
}
