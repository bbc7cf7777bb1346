// budget.hpp: the limits on what is read from a bundle, those of WRN_DEPLOY_LIMITS too.
#pragma once

#include <cstdint>
#include <string>

namespace wrn {

// The limits that concern a bundle, as in wrn_deploy/files/budget.py; names and units of all are known.
struct Budget {
  std::uint64_t text_bytes = std::uint64_t{256} << 20;
  std::uint64_t members = 20'000'000;
  std::uint64_t parts = 500'000;
  std::uint64_t memory_bytes = std::uint64_t{16} << 30;
  std::uint64_t ratio = 200;
  std::uint64_t nesting = 100;

  // Each throws Unfit if `amount` is above the limit; `what` is the file.
  void check_text_bytes(std::uint64_t amount, const std::string &what) const;
  void check_members(std::uint64_t amount, const std::string &what) const;
  void check_parts(std::uint64_t amount, const std::string &what) const;
  void check_nesting(std::uint64_t amount, const std::string &what) const;
  void check_memory_bytes(std::uint64_t amount, const std::string &what) const;
  // Of what a file of `compressed` bytes asks for in memory.
  void check_inflated(std::uint64_t inflated, std::uint64_t compressed, const std::string &what) const;
};

// The defaults with the changes in WRN_DEPLOY_LIMITS; throws WRN_USAGE if it holds something else than limits.
Budget read_budget();

}  // namespace wrn
