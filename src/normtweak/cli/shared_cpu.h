// How threads wait for one another on a CPU that other programs use as well.
#pragma once

namespace normtweak::cli {

// By default they spin, which is fastest as long as each has a core of its own. Where other programs keep cores busy, a
// thread that spins holds the core that the awaited one lacks. Then starts this program anew, as the same process, with
// OMP_WAIT_POLICY=PASSIVE: OpenMP's runtime reads it before main(). Does nothing if there are cores enough, if the
// environment says how to wait (OMP_WAIT_POLICY, GOMP_SPINCOUNT), or with one thread. Called before anything else.
void wait_passively_on_shared_cpu(char** argv);

}  // namespace normtweak::cli
