// What the benchmarks in C++ read of their own process: its clock and its memory.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <fstream>

// Nanoseconds of a steady clock.
inline std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Bytes in memory.
inline long long resident() {
  std::ifstream file("/proc/self/statm");
  long long all = 0, here = 0;
  file >> all >> here;
  return here * sysconf(_SC_PAGESIZE);
}
