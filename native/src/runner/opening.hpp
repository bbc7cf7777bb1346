// opening.hpp: opens the artifact that a caller asked for, or the first of those that can run on this machine.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bundle/bundle.hpp"
#include "runner/choice.hpp"
#include "runner/engine.hpp"

namespace wrn {

struct Opened {
  Choice choice;
  std::unique_ptr<Engine> engine;
};

// Opens the first of the choices that this machine can run; with a single one, its obstacle is the error.
//   threads: of the CPU, 0 for ONNX Runtime's default.  host_code: as in PlanOptions.  Throws Error.
Opened open_first(Bundle &bundle, const std::vector<Choice> &choices, std::int32_t threads, bool host_code);

}  // namespace wrn
