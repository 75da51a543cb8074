// Compiles one function for several instruction sets, selected at program start. The project is built for baseline
// x86-64, on which a loop over floats takes several times as long.
#pragma once

// Feature levels, not `arch=haswell` and the like: GCC takes those to mean Intel CPUs only, so that AMD CPUs would get
// the baseline version.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#if __GNUC__ >= 12
#define NORMTWEAK_TARGET_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define NORMTWEAK_TARGET_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#else
#define NORMTWEAK_TARGET_CLONES
#endif
