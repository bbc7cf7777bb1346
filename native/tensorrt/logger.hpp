// logger.hpp: TensorRT's messages, kept for the texts of errors; nothing is printed.
#pragma once

#include <NvInferRuntime.h>

#include <string>

namespace wrn {

// TensorRT allows one logger in a process. It reports a failed call on the thread that made it.
class Logger final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char *text) noexcept override;
};

// The logger, which is never destroyed.
Logger &logger();

// " (TEXT)" of this thread's errors since the last call; empty if there was none.
std::string logged();

}  // namespace wrn
