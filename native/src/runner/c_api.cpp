// c_api.cpp: wrn_runner.h over Runner: arguments, handles, errors, forks. Nothing is thrown past this file.
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <shared_mutex>

#include "bundle/budget.hpp"
#include "error.hpp"
#include "runner/runner.hpp"
#include "text/format.hpp"

namespace {

using wrn::Error;
using wrn::Runner;
using wrn::Tensor;

constexpr std::size_t kRoom = 8192;  // bytes of a message
constexpr const char *kDtypes = "WRN_UINT8, WRN_INT32, WRN_INT64, WRN_FLOAT16, WRN_FLOAT32";

thread_local char last[kRoom];

// Memory for images, lent to the host.
struct Slot {
  void *data = nullptr;
  Slot() = default;
  Slot(Slot &&other) noexcept : data(std::exchange(other.data, nullptr)) {}
  Slot(const Slot &) = delete;
  Slot &operator=(const Slot &) = delete;
  ~Slot() { std::free(data); }
};

struct Table {
  std::shared_mutex lock;
  std::map<std::uint64_t, std::shared_ptr<Runner>> runners;
  std::map<std::uint64_t, Slot> slots;
  std::uint64_t next = 1;
};

// Never destroyed: threads of the host may be within a call when the process ends.
Table &table() {
  static Table *const made = new Table;
  return *made;
}

std::atomic<pid_t> opener{0};  // the process that called wrn_open() first; 0: none did

[[noreturn]] void usage(const std::string &text) { throw Error(WRN_USAGE, text); }

std::int32_t fail(std::int32_t status, const std::string &text) {
  std::string shown = wrn::printable(text);
  if (shown.size() >= kRoom) {
    std::size_t end = kRoom - 1;
    while (end > 0 && (static_cast<unsigned char>(shown[end]) & 0xC0) == 0x80) --end;  // cut between characters
    shown.resize(end);
  }
  std::memcpy(last, shown.c_str(), shown.size() + 1);
  return status;
}

// Refuses a child of the process that opened a bundle: locks may be held by threads that only the parent has.
void check_process() {
  const pid_t parent = opener.load(std::memory_order_acquire), here = getpid();
  if (parent == 0 || parent == here) return;
  usage("opened in process " + std::to_string(parent) + ", called in process " + std::to_string(here) +
        " after fork: fork before the first wrn_open and open the bundle in each process, or start the child with "
        "posix_spawn");
}

template <class Call>
std::int32_t guarded(Call &&call) noexcept try {
  last[0] = '\0';
  try {
    call();
    return WRN_OK;
  } catch (const Error &error) {
    return fail(error.status(), error.what());
  } catch (const wrn::SystemError &error) {
    return fail(WRN_ERROR, "cannot read " + error.file() + " (" + wrn::reason(error.number()) + ")");
  } catch (const std::bad_alloc &error) {
    return fail(WRN_MACHINE, std::string("out of memory (") + error.what() + "): free some, or use smaller batches");
  } catch (const std::length_error &error) {
    return fail(WRN_MACHINE, std::string("out of memory (") + error.what() + "): free some, or use smaller batches");
  } catch (const std::exception &error) {
    return fail(WRN_INTERNAL, std::string("a bug in wrn-deploy: ") + error.what());
  }
} catch (...) {
  std::snprintf(last, sizeof last, "no memory for the text of an error: free some");
  return WRN_INTERNAL;
}

std::shared_ptr<Runner> opened(wrn_runner runner) {
  check_process();
  Table &all = table();
  const std::shared_lock<std::shared_mutex> lock(all.lock);
  const auto found = all.runners.find(runner);
  if (found == all.runners.end())
    usage("runner " + std::to_string(runner) +
          " is not open: expected one from wrn_open that is not closed yet");
  return found->second;
}

std::size_t size_of(const void *theirs, const char *name, std::size_t room) {
  if (theirs == nullptr) usage(std::string("the pointer to a ") + name + " is NULL");
  std::size_t size = 0;
  std::memcpy(&size, theirs, sizeof size);
  if (size < sizeof size || size > 65536)
    usage(std::string(name) + ".size is " + std::to_string(size) + ": expected sizeof(" + name + "), which is " +
          std::to_string(room));
  return size;
}

// Reads a structure of the caller's, of another size if the caller has another version of the header.
wrn_options take(const wrn_options *theirs) {
  wrn_options ours{};
  const std::size_t size = size_of(theirs, "wrn_options", sizeof ours);
  for (std::size_t at = sizeof ours; at < size; ++at)
    if (reinterpret_cast<const char *>(theirs)[at] != 0)
      usage("wrn_options has fields that this library (ABI " + std::to_string(WRN_ABI_VERSION) +
            ") does not know: expected zeros there");
  std::memcpy(&ours, theirs, std::min(size, sizeof ours));
  return ours;
}

// Writes a structure of the caller's, except its size.
template <class T>
void put(T *theirs, const T &ours, std::size_t size) {
  constexpr std::size_t kSize = sizeof(std::size_t);
  std::memcpy(reinterpret_cast<char *>(theirs) + kSize, reinterpret_cast<const char *>(&ours) + kSize,
              std::min(size, sizeof ours) - kSize);
}

void fill(wrn_tensor *theirs, const Tensor &tensor, std::size_t size) {
  wrn_tensor made{};
  if (tensor.name.size() >= sizeof made.name || tensor.shape.size() > std::size(made.shape))
    throw Error(WRN_ERROR, tensor.name + " is " + wrn::tuple(tensor.shape) + ": too large for a wrn_tensor");
  std::memcpy(made.name, tensor.name.data(), tensor.name.size());
  made.dtype = tensor.dtype, made.rank = static_cast<std::int32_t>(tensor.shape.size());
  std::copy(tensor.shape.begin(), tensor.shape.end(), made.shape);
  made.image_bytes = tensor.image_bytes;
  put(theirs, made, size);
}

const char *dtype_name(std::int32_t dtype) {
  switch (dtype) {
    case WRN_UINT8: return "uint8";
    case WRN_INT32: return "int32";
    case WRN_INT64: return "int64";
    case WRN_FLOAT16: return "float16";
    case WRN_FLOAT32: return "float32";
    default: usage("dtype " + std::to_string(dtype) + ": expected one of " + kDtypes);
  }
}

const Tensor &input_of(const Runner &runner, std::int32_t dtype) {
  const char *name = dtype_name(dtype);
  const wrn::Model &model = runner.model();
  if (dtype == model.input.dtype) return model.input;
  if (dtype == WRN_UINT8) return model.pixels;
  usage(std::string("images are ") + name + ": this runner takes uint8" +
        (model.input.dtype == WRN_UINT8 ? "" : " or float32"));
}

const Tensor &output_of(const Runner &runner, std::int32_t index) {
  const std::vector<Tensor> &outputs = runner.model().outputs;
  if (index < 0 || static_cast<std::size_t>(index) >= outputs.size())
    usage("output " + std::to_string(index) + ": this runner has " + std::to_string(outputs.size()) +
          ", counted from 0");
  return outputs[static_cast<std::size_t>(index)];
}

std::string text_of(const Runner &runner, std::int32_t kind, std::int64_t index) {
  const wrn::Model &model = runner.model();
  switch (kind) {
    case WRN_TEXT_MODEL: return model.name;
    case WRN_TEXT_BACKEND: return runner.backend();
    case WRN_TEXT_PRECISION: return runner.precision();
    case WRN_TEXT_FELL_BACK: return runner.fell_back();
    case WRN_TEXT_LABEL: break;
    default: usage("text " + std::to_string(kind) + ": expected a WRN_TEXT_ constant");
  }
  if (index < 0 || index >= model.classes)
    usage("class " + std::to_string(index) + ": this network has " + std::to_string(model.classes) +
          ", counted from 0");
  return model.labels.empty() ? "" : model.labels[static_cast<std::size_t>(index)];
}

std::string utf8(const char *text, const char *name) {
  if (text == nullptr) return "";
  if (const auto fault = wrn::utf8_fault(text)) usage(std::string(name) + " is not UTF-8 (" + *fault + ")");
  return text;
}

wrn::Wanted wanted_of(const wrn_options *options) {
  const wrn_options given = options != nullptr ? take(options) : wrn_options{};
  pid_t none = 0;
  opener.compare_exchange_strong(none, getpid(), std::memory_order_acq_rel);
  check_process();
  const auto check = [](const char *name, std::int32_t number) {
    if (number < 0)
      usage(std::string(name) + " is " + std::to_string(number) + ": expected at least 1, or 0 for the default");
  };
  check("threads", given.threads), check("contexts", given.contexts);
  wrn::Wanted wanted;
  wanted.precision = utf8(given.precision, "precision"), wanted.backend = utf8(given.backend, "backend");
  wanted.threads = given.threads, wanted.contexts = given.contexts;
  wanted.fallback = given.fallback != 0, wanted.allow_nonfinite = given.allow_nonfinite != 0;
  // What the process demands by default; wrn_deploy/files/trust.py. A library that checks none of it must refuse.
  const char *usual = std::getenv("WRN_DEPLOY_REQUIRE_SIGNATURE");
  const char *key = given.require_signature != nullptr ? given.require_signature : usual;
  wanted.signed_by = key != nullptr ? key : "";
  return wanted;
}

// The outputs' buffers of a call, which is checked: sizes, and no NULL.
std::vector<void *> checked(
    const Runner &runner, const wrn_images *images, const wrn_buffer *outputs, std::size_t n_outputs) {
  if (images == nullptr || outputs == nullptr) usage(images != nullptr ? "outputs is NULL" : "images is NULL");
  const Tensor &source = input_of(runner, images->dtype);
  const std::vector<Tensor> &all = runner.model().outputs;
  if (n_outputs != 1 && n_outputs != all.size()) {
    std::vector<std::string> names;
    for (const Tensor &each : all) names.push_back(each.name);
    usage(std::to_string(n_outputs) + " buffers: expected 1, for " + names[0] + ", or one for each of " +
          wrn::joined(names));
  }
  if (images->count < 1) usage(std::to_string(images->count) + " images: expected at least 1");
  if (images->data == nullptr) usage("images.data is NULL");
  const auto count = static_cast<std::size_t>(images->count);
  const auto needed = [count](const Tensor &tensor) {
    return std::to_string(count) + " x " + std::to_string(tensor.image_bytes) + " = " +
           wrn::product(count, tensor.image_bytes);
  };
  std::size_t size = 0;
  if (__builtin_mul_overflow(count, source.image_bytes, &size) || images->bytes != size)
    usage("images have " + std::to_string(images->bytes) + " bytes: expected " + needed(source) + ", " +
          dtype_name(source.dtype) + " " + wrn::tuple(source.shape) + " each");
  std::vector<void *> into;
  for (std::size_t at = 0; at < n_outputs; ++at) {
    if (outputs[at].data == nullptr) usage("the buffer for " + all[at].name + " is NULL");
    if (__builtin_mul_overflow(count, all[at].image_bytes, &size) || outputs[at].bytes < size)
      usage("the buffer for " + all[at].name + " has " + std::to_string(outputs[at].bytes) +
            " bytes: expected at least " + needed(all[at]));
    into.push_back(outputs[at].data);
  }
  return into;
}

}  // namespace

extern "C" {

WRN_API std::int32_t wrn_abi_version(void) { return WRN_ABI_VERSION; }

WRN_API const char *wrn_version(void) { return WRN_VERSION; }

WRN_API const char *wrn_last_error(void) { return last; }

WRN_API std::int32_t wrn_open(const char *bundle, const wrn_options *options, wrn_runner *runner) {
  return guarded([=] {
    if (runner == nullptr) usage("the pointer to a wrn_runner is NULL");
    *runner = 0;
    if (bundle == nullptr) usage("the bundle's folder is NULL: expected a path");
    const auto made = std::make_shared<Runner>(bundle, wanted_of(options));
    Table &all = table();
    const std::unique_lock<std::shared_mutex> lock(all.lock);
    all.runners.emplace(all.next, made);
    *runner = all.next++;
  });
}

WRN_API std::int32_t wrn_close(wrn_runner runner) {
  return guarded([=] {
    const std::shared_ptr<Runner> made = opened(runner);
    {
      Table &all = table();
      const std::unique_lock<std::shared_mutex> lock(all.lock);
      if (all.runners.erase(runner) == 0) return;  // another thread was faster, and closes it
    }
    made->close();
  });
}

WRN_API std::int32_t wrn_describe(wrn_runner runner, wrn_description *description) {
  return guarded([=] {
    const auto made = opened(runner);
    wrn_description ours{};
    const std::size_t size = size_of(description, "wrn_description", sizeof ours);
    const wrn::Model &model = made->model();
    ours.height = static_cast<std::int32_t>(model.height), ours.width = static_cast<std::int32_t>(model.width);
    ours.outputs = static_cast<std::int32_t>(model.outputs.size());
    ours.labels = static_cast<std::int32_t>(model.labels.size());
    ours.classes = model.classes;
    put(description, ours, size);
  });
}

WRN_API std::int32_t wrn_input(wrn_runner runner, std::int32_t dtype, wrn_tensor *tensor) {
  return guarded([=] {
    const auto made = opened(runner);
    const std::size_t size = size_of(tensor, "wrn_tensor", sizeof *tensor);
    fill(tensor, input_of(*made, dtype), size);
  });
}

WRN_API std::int32_t wrn_output(wrn_runner runner, std::int32_t index, wrn_tensor *tensor) {
  return guarded([=] {
    const auto made = opened(runner);
    const std::size_t size = size_of(tensor, "wrn_tensor", sizeof *tensor);
    fill(tensor, output_of(*made, index), size);
  });
}

WRN_API std::int32_t wrn_text(
    wrn_runner runner, std::int32_t kind, std::int64_t index, char *buffer, std::size_t capacity, std::size_t *needed) {
  return guarded([=] {
    const auto made = opened(runner);
    if (buffer == nullptr && capacity > 0) usage("the buffer is NULL, with " + std::to_string(capacity) + " bytes");
    const std::string text = text_of(*made, kind, index);
    const std::size_t bytes = text.size() + 1;
    if (needed != nullptr) *needed = bytes;
    if (buffer == nullptr) return;
    if (bytes > capacity)
      usage("the buffer has " + std::to_string(capacity) + " bytes: expected at least " + std::to_string(bytes));
    std::memcpy(buffer, text.c_str(), bytes);
  });
}

WRN_API std::int32_t wrn_infer(
    wrn_runner runner, const wrn_images *images, const wrn_buffer *outputs, std::size_t n_outputs) {
  return guarded([=] {
    const auto made = opened(runner);
    const std::vector<void *> into = checked(*made, images, outputs, n_outputs);
    made->infer(images->data, images->dtype, images->count, into);
  });
}

WRN_API std::int32_t wrn_slot_open(wrn_runner runner, std::int64_t count, wrn_slot *slot) {
  return guarded([=] {
    const auto made = opened(runner);
    wrn_slot ours{};
    const std::size_t size = size_of(slot, "wrn_slot", sizeof ours);
    if (count < 1)
      throw Error(WRN_ERROR, "a slot for " + std::to_string(count) + " images: expected at least 1");
    made->check_open();
    const Tensor &source = made->model().input;
    constexpr std::size_t kLine = 64;  // of a cache
    if (__builtin_mul_overflow(static_cast<std::size_t>(count), source.image_bytes, &ours.bytes) ||
        ours.bytes > SIZE_MAX / 2)
      throw std::bad_alloc();
    Slot lent;
    lent.data = std::aligned_alloc(kLine, (ours.bytes + kLine - 1) / kLine * kLine);
    if (lent.data == nullptr) throw std::bad_alloc();
    ours.data = lent.data, ours.count = count, ours.dtype = source.dtype;
    Table &all = table();
    {
      const std::unique_lock<std::shared_mutex> lock(all.lock);
      ours.id = all.next++;
      all.slots.emplace(ours.id, std::move(lent));
    }
    put(slot, ours, size);
  });
}

WRN_API std::int32_t wrn_slot_close(std::uint64_t id) {
  return guarded([=] {
    check_process();
    Table &all = table();
    const std::unique_lock<std::shared_mutex> lock(all.lock);
    if (all.slots.erase(id) == 0)
      usage("slot " + std::to_string(id) + " is not open: expected an id that wrn_slot_open returned");
  });
}

WRN_API std::int32_t wrn_infer_device(
    wrn_runner runner, const wrn_images *images, const wrn_buffer *outputs, std::size_t n_outputs, void *) {
  return guarded([=] {
    const auto made = opened(runner);
    checked(*made, images, outputs, n_outputs);
    const Tensor &own = made->model().input, &source = input_of(*made, images->dtype);
    if (source.name != own.name)
      usage(std::string("images on a device are ") + dtype_name(source.dtype) + ": expected " + dtype_name(own.dtype) +
            " " + wrn::tuple(own.shape) + " each, normalised");
    throw Error(WRN_ERROR, made->backend() + " " + made->precision() +
                               " does not take arrays on a GPU: open the bundle with the backend tensorrt or "
                               "tensorrt_rtx");
  });
}

WRN_API std::int32_t wrn_warmup(
    wrn_runner runner, const std::int64_t *batches, std::size_t n, std::int32_t iterations) {
  return guarded([=] {
    const auto made = opened(runner);
    if (batches == nullptr && n > 0) usage("batches is NULL, with " + std::to_string(n) + " of them");
    if (iterations < 1) usage(std::to_string(iterations) + " iterations: expected at least 1");
    made->warmup(batches, n, iterations);
  });
}

}  // extern "C"
