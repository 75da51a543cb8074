// One function compiled for several instruction sets, chosen when the program starts: the project is built for the
// oldest x86-64, where a loop over floats takes several times as long.
#pragma once

// By what a CPU can do, not `arch=haswell` and the like: those are taken to mean Intel's alone, and leave AMD's with
// the oldest.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#if __GNUC__ >= 12
#define NORMTWEAK_FOR_EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define NORMTWEAK_FOR_EACH_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#else
#define NORMTWEAK_FOR_EACH_CPU
#endif
