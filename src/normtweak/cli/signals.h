// Cleanup on SIGINT, SIGTERM and SIGHUP.
#pragma once

namespace normtweak::cli {

// From now on SIGINT, SIGTERM and SIGHUP still end the process, but first remove its partial output. Ignored signals
// (nohup) stay ignored; an InterruptScope takes precedence. A file that exceeds the size limit (ulimit -f) makes the
// write fail instead of raising SIGXFSZ. Call it once.
void remove_temporary_paths_on_signals();

}  // namespace normtweak::cli
