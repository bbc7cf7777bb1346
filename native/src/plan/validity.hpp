// validity.hpp: whether a plan fits this machine, from its entry in the manifest; as backends/plan/validity.py.
#pragma once

#include <optional>
#include <string>

#include "plan/facts.hpp"

namespace wrn {

struct Gpu {
  std::string name, compute_capability;  // as in "9.0"
};

// How a plan differs from a machine, and what to do; nothing if it fits.
//   flavor, version: the TensorRT that is to run it.  gpu: nothing if there is none: then only the software counts.
//   remedy: the command that builds it again.
std::optional<std::string> plan_mismatch(const PlanFacts &facts, const std::string &flavor, const std::string &version,
                                         const std::optional<Gpu> &gpu, const std::string &remedy);

// Why a plan that fits may still not run on a GPU; empty if nothing speaks against it.
std::string plan_warning(const PlanFacts &facts, const Gpu &gpu);

}  // namespace wrn
