// runner.hpp: an opened bundle: choice, normalising, splitting, checks of values, how many calls run at once. No C ABI.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "bundle/bundle.hpp"
#include "runner/choice.hpp"
#include "runner/engine.hpp"

namespace wrn {

struct Wanted {
  std::string backend, precision;  // empty: not named
  std::int32_t threads = 0, contexts = 0;
  bool fallback = false, allow_nonfinite = false, host_code = false;
  std::string signed_by;  // empty: no signature is demanded
};

class Runner {
 public:
  Runner(const std::string &folder, const Wanted &wanted);

  const Model &model() const { return bundle_.model(); }
  const std::string &backend() const { return choice_.backend; }
  const std::string &precision() const { return choice_.precision; }
  const std::string &fell_back() const { return fell_back_; }
  const Tensor &input() const { return input_; }  // of what runs; a plan's need not be that of the graphs

  // Runs `count` images of `dtype` (the graph's own input, or pixels), and then writes the first outputs, whole.
  void infer(const void *images, std::int32_t dtype, std::int64_t count, const std::vector<void *> &outputs);
  // Queues the images, `input()` in the memory of the GPU, on the caller's stream.
  void infer_device(
      const void *images, std::int64_t count, const std::vector<void *> &outputs, void *stream);
  // Memory for images, which may outlive the runner.
  std::shared_ptr<void> lend(std::size_t bytes);
  void warmup(const std::int64_t *batches, std::size_t n, std::int32_t iterations);
  // Refuses further calls, those that wait too, and waits for running ones.
  void close();

 private:
  // A context with memory for what is on its way into and out of it.
  struct Lane {
    std::unique_ptr<Context> context;
    std::vector<float> normalised;
    std::vector<char> padded;
    bool busy = false;
  };
  class Lease;

  Lane &add_lane();
  void run(Lane &lane, const void *images, bool normalises, std::int64_t count, const std::vector<void *> &outputs);
  void join(Lane &lane, const void *images, bool normalises, std::int64_t count, std::vector<std::vector<char>> &parts);
  const void *prepared(Lane &lane, const void *images, bool normalises, std::int64_t count, std::int64_t padded);
  void check_outputs(const std::vector<const void *> &results, std::int64_t count) const;

  std::size_t most_;  // calls at the same time
  Bundle bundle_;
  Choice choice_;
  Tensor input_;
  std::string fell_back_;
  bool allow_nonfinite_;
  std::unique_ptr<Engine> engine_;
  mutable std::mutex lock_;
  std::condition_variable freed_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  bool closed_ = false, warming_ = false;
};

}  // namespace wrn
