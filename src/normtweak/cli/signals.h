// Ctrl-C and its like.
#pragma once

namespace normtweak::cli {

// From now on SIGINT, SIGTERM and SIGHUP end the process as they always do, but first what it has half-written is
// removed. Signals that are ignored (nohup) stay so; an InterruptScope comes before this. A file that grows past a
// limit (ulimit -f) becomes an error of the write. Called once.
void remove_unfinished_on_signals();

}  // namespace normtweak::cli
