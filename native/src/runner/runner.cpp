#include "runner/runner.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>
#include <utility>

#include "error.hpp"
#include "runner/opening.hpp"
#include "text/format.hpp"

namespace wrn {
namespace {

constexpr std::int32_t kMostContexts = 1024;  // more is a mistake

int usable_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return CPU_COUNT(&cores);
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

std::size_t lanes_of(const Wanted &wanted) {
  if (wanted.contexts > kMostContexts)
    throw Error(WRN_USAGE, std::to_string(wanted.contexts) + " contexts: expected 1 to " +
                               std::to_string(kMostContexts));
  return static_cast<std::size_t>(wanted.contexts > 0 ? wanted.contexts : std::min(4, usable_cores()));
}

// uint8 NHWC -> float32 NCHW; two roundings a value, as numpy makes them: built with -ffp-contract=off.
void normalise(const Model &model, const std::uint8_t *from, std::int64_t count, float *to) {
  const auto plane = static_cast<std::size_t>(model.height * model.width);
  for (std::int64_t image = 0; image < count; ++image, from += 3 * plane)
    for (std::size_t channel = 0; channel < 3; ++channel, to += plane) {
      const float scale = model.scale[channel], shift = model.shift[channel];
      for (std::size_t at = 0; at < plane; ++at) to[at] = static_cast<float>(from[3 * at + channel]) * scale + shift;
    }
}

// Of a value that is not finite all bits of the exponent are set: one more there carries into the bit of the sign.
bool all_finite(const float *values, std::size_t count) {
  constexpr std::size_t kStep = 32;  // loops without branches, which compilers make vectors of
  std::uint32_t odd[kStep] = {};
  const auto carry = [values](std::size_t at) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, values + at, sizeof bits);
    return (bits & 0x7FFFFFFFU) + 0x00800000U;
  };
  std::size_t at = 0;
  for (; at + kStep <= count; at += kStep)
    for (std::size_t lane = 0; lane < kStep; ++lane) odd[lane] |= carry(at + lane);
  for (; at < count; ++at) odd[0] |= carry(at);
  std::uint32_t all = 0;
  for (const std::uint32_t lane : odd) all |= lane;
  return (all >> 31) == 0;
}

// Throws unless all values of `count` images are finite; as wrn_deploy/runtime/finite.py.
void check_finite(const void *data, const Tensor &tensor, std::int64_t count, const std::string &subject,
                  const char *remedy) {
  const auto images = static_cast<std::size_t>(count);
  const std::size_t each = tensor.image_bytes / sizeof(float);
  const auto *values = static_cast<const float *>(data);
  if (all_finite(values, images * each)) return;
  std::size_t odd = 0, rows = 0, first = 0;
  for (std::size_t image = images; image-- > 0;) {
    std::size_t here = 0;
    for (std::size_t at = 0; at < each; ++at) here += std::isfinite(values[image * each + at]) ? 0U : 1U;
    if (here > 0) odd += here, ++rows, first = image;
  }
  throw Error(WRN_ERROR, subject + " NaN or infinite " + tensor.name + ": " + std::to_string(odd) + " of " +
                             std::to_string(images * each) + " values, in " + std::to_string(rows) + " of " +
                             std::to_string(images) + " images, the first of which is image " + std::to_string(first) +
                             ", counted from 0; expected finite ones: " + remedy +
                             ", or allow them with the option allow_nonfinite");
}

}  // namespace

// A lane that no other call uses until the lease ends.
class Runner::Lease {
 public:
  explicit Lease(Runner &runner) : runner_(runner) {
    std::unique_lock<std::mutex> lock(runner_.lock_);
    for (;;) {
      if (runner_.closed_) throw Error(WRN_USAGE, "this runner is closed: open the bundle again");
      if (!runner_.warming_) {
        const auto found = std::find_if(runner_.lanes_.begin(), runner_.lanes_.end(),
                                        [](const std::unique_ptr<Lane> &lane) { return !lane->busy; });
        if (found != runner_.lanes_.end()) lane_ = found->get();
        if (lane_ == nullptr && runner_.lanes_.size() < runner_.most_) lane_ = &runner_.add_lane();
        if (lane_ != nullptr) break;
      }
      runner_.freed_.wait(lock);
    }
    lane_->busy = true;
  }
  ~Lease() {
    {
      const std::lock_guard<std::mutex> lock(runner_.lock_);
      lane_->busy = false;
    }
    runner_.freed_.notify_all();
  }
  Lease(const Lease &) = delete;
  Lease &operator=(const Lease &) = delete;

  Lane &lane() { return *lane_; }

 private:
  Runner &runner_;
  Lane *lane_ = nullptr;
};

Runner::Runner(const std::string &folder, const Wanted &wanted)
    : most_(lanes_of(wanted)), bundle_(folder, wanted.signed_by), allow_nonfinite_(wanted.allow_nonfinite) {
  const auto open = [&](const std::string &backend, const std::string &precision) {
    Opened opened = open_first(
        bundle_, choose(bundle_, backend, precision, wanted.threads), wanted.threads, wanted.host_code);
    choice_ = std::move(opened.choice), engine_ = std::move(opened.engine);
  };
  try {
    open(wanted.backend, wanted.precision);
  } catch (const Error &error) {
    if (!wanted.fallback || error.status() == WRN_USAGE) throw;
    fell_back_ = printable(error.what());
    open("", "");
  }
  input_ = engine_->input();
  add_lane();
}

Runner::Lane &Runner::add_lane() {
  auto made = std::make_unique<Lane>();
  made->context = engine_->open_context();
  lanes_.push_back(std::move(made));
  return *lanes_.back();
}

void Runner::infer(const void *images, std::int32_t dtype, std::int64_t count, const std::vector<void *> &outputs) {
  Lease lease(*this);
  const bool normalises = dtype != input_.dtype;
  if (!normalises && dtype == WRN_FLOAT32 && !allow_nonfinite_)
    check_finite(images, input_, count, "the batch has", "check how they were normalised");
  run(lease.lane(), images, normalises, count, outputs);
}

// Nothing is written to `outputs` before all of them are there and have been checked.
void Runner::run(
    Lane &lane, const void *images, bool normalises, std::int64_t count, const std::vector<void *> &outputs) {
  std::vector<const void *> results(outputs.size());
  std::vector<std::vector<char>> parts;
  if (count <= engine_->largest()) {
    const std::int64_t padded = std::max(count, engine_->smallest());
    const void *ready = prepared(lane, images, normalises, count, padded);
    lane.context->infer(ready, padded, outputs.size(), results.data());
  } else {
    parts.resize(outputs.size());
    join(lane, images, normalises, count, parts);
    for (std::size_t at = 0; at < parts.size(); ++at) results[at] = parts[at].data();
  }
  if (!allow_nonfinite_) check_outputs(results, count);
  for (std::size_t at = 0; at < outputs.size(); ++at)
    std::memcpy(outputs[at], results[at], static_cast<std::size_t>(count) * model().outputs[at].image_bytes);
}

// Runs a batch that is too large for the engine in pieces, and joins their outputs. While one piece is computed, the
// next one is prepared and copied.
void Runner::join(
    Lane &lane, const void *images, bool normalises, std::int64_t count, std::vector<std::vector<char>> &parts) {
  const std::size_t bytes = normalises ? model().pixels.image_bytes : input_.image_bytes;
  const std::int64_t most = engine_->largest();
  const auto collect = [&](std::int64_t start, int turn) {
    std::vector<const void *> results(parts.size());
    lane.context->finish(turn, results.data());
    const auto part = static_cast<std::size_t>(std::min(count - start, most));
    for (std::size_t at = 0; at < parts.size(); ++at) {
      const auto *made = static_cast<const char *>(results[at]);
      parts[at].insert(parts[at].end(), made, made + part * model().outputs[at].image_bytes);
    }
  };
  int turn = 0;
  try {
    for (std::int64_t start = 0; start < count; start += most, turn = 1 - turn) {
      const std::int64_t part = std::min(count - start, most), padded = std::max(part, engine_->smallest());
      const char *from = static_cast<const char *>(images) + static_cast<std::size_t>(start) * bytes;
      lane.context->start(prepared(lane, from, normalises, part, padded), padded, parts.size(), turn);
      if (start > 0) collect(start - most, 1 - turn);
    }
    collect((count - 1) / most * most, 1 - turn);
  } catch (...) {
    lane.context->drop();  // nothing reads the images any more
    throw;
  }
}

// The images as the graph takes them; a batch that is too small repeats its images.
const void *Runner::prepared(
    Lane &lane, const void *images, bool normalises, std::int64_t count, std::int64_t padded) {
  const std::size_t bytes = input_.image_bytes;
  if (normalises) {
    lane.normalised.resize(static_cast<std::size_t>(count) * bytes / sizeof(float));
    normalise(model(), static_cast<const std::uint8_t *>(images), count, lane.normalised.data());
    images = lane.normalised.data();
  }
  if (padded == count) return images;
  lane.padded.resize(static_cast<std::size_t>(padded) * bytes);
  for (std::int64_t at = 0; at < padded; ++at)
    std::memcpy(lane.padded.data() + static_cast<std::size_t>(at) * bytes,
                static_cast<const char *>(images) + static_cast<std::size_t>(at % count) * bytes, bytes);
  return lane.padded.data();
}

void Runner::check_outputs(const std::vector<const void *> &results, std::int64_t count) const {
  for (std::size_t at = 0; at < results.size(); ++at) {
    const Tensor &output = model().outputs[at];
    const std::size_t values = static_cast<std::size_t>(count) * output.image_bytes / sizeof(float);
    if (output.dtype == WRN_FLOAT32 && !all_finite(static_cast<const float *>(results[at]), values))
      check_finite(results[at], output, count, backend() + " " + precision() + " gives",
                   "run another precision, such as fp32");
  }
}

void Runner::warmup(const std::int64_t *batches, std::size_t n, std::int32_t iterations) {
  std::unique_lock<std::mutex> lock(lock_);
  const auto idle = [this] {
    return std::none_of(lanes_.begin(), lanes_.end(), [](const std::unique_ptr<Lane> &lane) { return lane->busy; });
  };
  freed_.wait(lock, [this] { return closed_ || !warming_; });
  if (closed_) throw Error(WRN_USAGE, "this runner is closed: open the bundle again");
  warming_ = true;  // calls of other threads wait
  struct Done {
    Runner &runner;
    std::unique_lock<std::mutex> &lock;
    ~Done() {
      if (!lock.owns_lock()) lock.lock();
      runner.warming_ = false;
      runner.freed_.notify_all();
    }
  } const done{*this, lock};
  freed_.wait(lock, idle);
  while (lanes_.size() < most_) add_lane();
  lock.unlock();
  for (const std::unique_ptr<Lane> &lane : lanes_)
    for (std::size_t at = 0; at < n; ++at) {
      if (batches[at] < 1)
        throw Error(WRN_ERROR, "a batch of " + std::to_string(batches[at]) + " to warm up with: expected at least 1");
      const auto largest = std::min(batches[at], engine_->largest());
      const std::vector<char> blank(static_cast<std::size_t>(largest) * input_.image_bytes);
      std::vector<const void *> results(model().outputs.size());
      for (std::int32_t turn = 0; turn < iterations; ++turn)
        for (std::int64_t start = 0; start < batches[at]; start += largest) {
          const std::int64_t part = std::min(batches[at] - start, largest);
          const std::int64_t padded = std::max(part, engine_->smallest());
          lane->context->infer(prepared(*lane, blank.data(), false, part, padded), padded, results.size(),
                               results.data());
        }
    }
}

void Runner::infer_device(
    const void *images, std::int64_t count, const std::vector<void *> &outputs, void *stream) {
  Lease lease(*this);
  if (!engine_->takes_device_memory())
    throw Error(WRN_ERROR, backend() + " " + precision() +
                               " does not take arrays on a GPU: open the bundle with the backend tensorrt or "
                               "tensorrt_rtx");
  std::vector<DeviceBatch> parts;
  for (std::int64_t start = 0; start < count; start += engine_->largest()) {
    const auto skipped = static_cast<std::size_t>(start);
    DeviceBatch part{std::min(count - start, engine_->largest()),
                     static_cast<const char *>(images) + skipped * input_.image_bytes, {}};
    for (std::size_t at = 0; at < outputs.size(); ++at)
      part.outputs.push_back(static_cast<char *>(outputs[at]) + skipped * model().outputs[at].image_bytes);
    engine_->check_device(part);
    parts.push_back(std::move(part));
  }
  for (const DeviceBatch &part : parts) lease.lane().context->infer_device(part, stream);
}

std::shared_ptr<void> Runner::lend(std::size_t bytes) {
  const std::lock_guard<std::mutex> lock(lock_);
  if (closed_) throw Error(WRN_USAGE, "this runner is closed: open the bundle again");
  return engine_->lend(bytes);
}

void Runner::close() {
  std::unique_lock<std::mutex> lock(lock_);
  closed_ = true;
  freed_.notify_all();
  freed_.wait(lock, [this] {
    return !warming_ && std::none_of(lanes_.begin(), lanes_.end(),
                                     [](const std::unique_ptr<Lane> &lane) { return lane->busy; });
  });
  lanes_.clear();
  engine_.reset();
}

}  // namespace wrn
