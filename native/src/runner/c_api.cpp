// c_api.cpp: wrn_runner.h over Runner: arguments, handles, errors, forks. Nothing is thrown past this file.
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <shared_mutex>

#include "error.hpp"
#include "runner/arguments.hpp"
#include "runner/runner.hpp"
#include "text/format.hpp"

namespace {

using wrn::Error;
using wrn::Runner;
using wrn::Tensor;
using wrn::usage;

constexpr std::size_t kRoom = 8192;  // bytes of a message

thread_local char last[kRoom];

struct Table {
  std::shared_mutex lock;
  std::map<std::uint64_t, std::shared_ptr<Runner>> runners;
  std::map<std::uint64_t, std::shared_ptr<void>> slots;  // memory for images, lent to the host
  std::uint64_t next = 1;
};

// Never destroyed: threads of the host may be within a call when the process ends.
Table &table() {
  static Table *const made = new Table;
  return *made;
}

std::atomic<pid_t> opener{0};  // the process that called wrn_open() first; 0: none did

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

wrn::Wanted wanted_of(const wrn_options *options) {
  const wrn_options given = options != nullptr ? wrn::take(options) : wrn_options{};
  pid_t none = 0;
  opener.compare_exchange_strong(none, getpid(), std::memory_order_acq_rel);
  check_process();
  const auto check = [](const char *name, std::int32_t number) {
    if (number < 0)
      usage(std::string(name) + " is " + std::to_string(number) + ": expected at least 1, or 0 for the default");
  };
  check("threads", given.threads), check("contexts", given.contexts);
  wrn::Wanted wanted;
  wanted.precision = wrn::utf8(given.precision, "precision"), wanted.backend = wrn::utf8(given.backend, "backend");
  wanted.threads = given.threads, wanted.contexts = given.contexts;
  wanted.fallback = given.fallback != 0, wanted.allow_nonfinite = given.allow_nonfinite != 0;
  // What the process demands by default; wrn_deploy/files/trust.py. A library that checks none of it must refuse.
  const char *usual = std::getenv("WRN_DEPLOY_REQUIRE_SIGNATURE");
  const char *key = given.require_signature != nullptr ? given.require_signature : usual;
  wanted.signed_by = key != nullptr ? key : "";
  const char *code = std::getenv("WRN_DEPLOY_ALLOW_HOST_CODE");
  wanted.host_code = given.allow_host_code != 0 || (code != nullptr && *code != '\0');
  return wanted;
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
    const std::size_t size = wrn::size_of(description, "wrn_description", sizeof ours);
    const wrn::Model &model = made->model();
    ours.height = static_cast<std::int32_t>(model.height), ours.width = static_cast<std::int32_t>(model.width);
    ours.outputs = static_cast<std::int32_t>(model.outputs.size());
    ours.labels = static_cast<std::int32_t>(model.labels.size());
    ours.classes = model.classes;
    wrn::put(description, ours, size);
  });
}

WRN_API std::int32_t wrn_input(wrn_runner runner, std::int32_t dtype, wrn_tensor *tensor) {
  return guarded([=] {
    const auto made = opened(runner);
    const std::size_t size = wrn::size_of(tensor, "wrn_tensor", sizeof *tensor);
    wrn::fill(tensor, wrn::input_of(*made, dtype), size);
  });
}

WRN_API std::int32_t wrn_output(wrn_runner runner, std::int32_t index, wrn_tensor *tensor) {
  return guarded([=] {
    const auto made = opened(runner);
    const std::size_t size = wrn::size_of(tensor, "wrn_tensor", sizeof *tensor);
    wrn::fill(tensor, wrn::output_of(*made, index), size);
  });
}

WRN_API std::int32_t wrn_text(
    wrn_runner runner, std::int32_t kind, std::int64_t index, char *buffer, std::size_t capacity, std::size_t *needed) {
  return guarded([=] {
    const auto made = opened(runner);
    if (buffer == nullptr && capacity > 0) usage("the buffer is NULL, with " + std::to_string(capacity) + " bytes");
    const std::string text = wrn::text_of(*made, kind, index);
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
    const std::vector<void *> into = wrn::checked(*made, images, outputs, n_outputs);
    made->infer(images->data, images->dtype, images->count, into);
  });
}

WRN_API std::int32_t wrn_slot_open(wrn_runner runner, std::int64_t count, wrn_slot *slot) {
  return guarded([=] {
    const auto made = opened(runner);
    wrn_slot ours{};
    const std::size_t size = wrn::size_of(slot, "wrn_slot", sizeof ours);
    if (count < 1)
      throw Error(WRN_ERROR, "a slot for " + std::to_string(count) + " images: expected at least 1");
    const Tensor &source = made->input();
    if (__builtin_mul_overflow(static_cast<std::size_t>(count), source.image_bytes, &ours.bytes) ||
        ours.bytes > SIZE_MAX / 2)
      throw std::bad_alloc();
    std::shared_ptr<void> lent = made->lend(ours.bytes);
    ours.data = lent.get(), ours.count = count, ours.dtype = source.dtype;
    Table &all = table();
    {
      const std::unique_lock<std::shared_mutex> lock(all.lock);
      ours.id = all.next++;
      all.slots.emplace(ours.id, std::move(lent));
    }
    wrn::put(slot, ours, size);
  });
}

WRN_API std::int32_t wrn_slot_close(std::uint64_t id) {
  return guarded([=] {
    check_process();
    Table &all = table();
    std::shared_ptr<void> lent;  // freed without the lock: CUDA may wait for the GPU
    const std::unique_lock<std::shared_mutex> lock(all.lock);
    const auto found = all.slots.find(id);
    if (found == all.slots.end())
      usage("slot " + std::to_string(id) + " is not open: expected an id that wrn_slot_open returned");
    lent = std::move(found->second);
    all.slots.erase(found);
  });
}

WRN_API std::int32_t wrn_infer_device(
    wrn_runner runner, const wrn_images *images, const wrn_buffer *outputs, std::size_t n_outputs, void *stream) {
  return guarded([=] {
    const auto made = opened(runner);
    const std::vector<void *> into = wrn::checked(*made, images, outputs, n_outputs);
    const Tensor &own = made->input(), &source = wrn::input_of(*made, images->dtype);
    if (source.name != own.name)
      usage(std::string("images on a device are ") + wrn::dtype_name(source.dtype) + ": expected " +
            wrn::dtype_name(own.dtype) + " " + wrn::tuple(own.shape) + " each, normalised");
    made->infer_device(images->data, images->count, into, stream);
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
