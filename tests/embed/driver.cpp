// What the tests run: each mode makes calls of the C library and prints a line a call: STATUS, TAB, the error's text.

#include <wrn_runner.h>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

namespace {

using Bytes = std::vector<char>;

Bytes read(const char *path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

void write(const char *path, const std::vector<float> &values) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char *>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
}

std::int32_t report(std::int32_t status) {
  std::printf("%d\t%s\n", status, wrn_last_error());
  std::fflush(stdout);
  return status;
}

const char *given(const char *text) { return std::strcmp(text, "-") == 0 ? nullptr : text; }

wrn_runner open(const char *bundle, const char *backend = nullptr, const char *precision = nullptr, int fallback = 0) {
  wrn_options options{};
  options.size = sizeof options;
  options.backend = backend;
  options.precision = precision;
  options.threads = 1;
  options.contexts = 4;
  options.fallback = fallback;
  wrn_runner runner = 0;
  report(wrn_open(bundle, &options, &runner));
  return runner;
}

std::string text(wrn_runner runner, std::int32_t what, std::int64_t index = 0) {
  std::size_t needed = 0;
  if (wrn_text(runner, what, index, nullptr, 0, &needed) != WRN_OK) return wrn_last_error();
  Bytes buffer(needed);
  if (wrn_text(runner, what, index, buffer.data(), buffer.size(), nullptr) != WRN_OK) return wrn_last_error();
  return buffer.data();
}

void show(const char *what, std::int32_t status, const wrn_tensor &tensor) {
  std::printf("%s\t%d\t%s\t%d\t%zu", what, status, tensor.name, tensor.dtype, tensor.image_bytes);
  for (std::int32_t at = 0; at < tensor.rank; ++at) std::printf("\t%lld", static_cast<long long>(tensor.shape[at]));
  std::printf("\n");
}

wrn_tensor output_of(wrn_runner runner) {
  wrn_tensor tensor{};
  tensor.size = sizeof tensor;
  wrn_output(runner, 0, &tensor);
  return tensor;
}

// describe BUNDLE BACKEND PRECISION FALLBACK
int describe(char **given_arguments) {
  const wrn_runner runner =
      open(given_arguments[0], given(given_arguments[1]), given(given_arguments[2]), std::atoi(given_arguments[3]));
  wrn_description about{};
  about.size = sizeof about;
  const std::int32_t status = wrn_describe(runner, &about);
  std::printf("about\t%d\t%d\t%d\t%d\t%d\t%lld\n", status, about.height, about.width, about.outputs, about.labels,
              static_cast<long long>(about.classes));
  for (const std::int32_t dtype : {WRN_UINT8, WRN_FLOAT32}) {
    wrn_tensor tensor{};
    tensor.size = sizeof tensor;
    show("input", wrn_input(runner, dtype, &tensor), tensor);
  }
  for (std::int32_t at = 0; at < about.outputs; ++at) {
    wrn_tensor tensor{};
    tensor.size = sizeof tensor;
    show("output", wrn_output(runner, at, &tensor), tensor);
  }
  for (std::int32_t what = WRN_TEXT_MODEL; what <= WRN_TEXT_FELL_BACK; ++what)
    std::printf("text\t%d\t%s\n", what, text(runner, what).c_str());
  for (std::int64_t label = 0; label < about.labels; ++label)
    std::printf("label\t%s\n", text(runner, WRN_TEXT_LABEL, label).c_str());
  return report(wrn_close(runner));
}

// infer BUNDLE BACKEND PRECISION DTYPE IMAGES COUNT RESULTS
int infer(char **arguments) {
  const wrn_runner runner = open(arguments[0], given(arguments[1]), given(arguments[2]));
  const Bytes data = read(arguments[4]);
  const std::int64_t count = std::atoll(arguments[5]);
  const std::int64_t batches[] = {1, count};
  report(wrn_warmup(runner, batches, 2, 1));
  std::vector<float> results(static_cast<std::size_t>(count) * output_of(runner).image_bytes / sizeof(float));
  const wrn_images images{data.data(), data.size(), count, std::atoi(arguments[3])};
  const wrn_buffer into{results.data(), results.size() * sizeof(float)};
  report(wrn_infer(runner, &images, &into, 1));
  write(arguments[6], results);
  return report(wrn_close(runner));
}

// outputs BUNDLE PIXELS COUNT RESULTS: all outputs, one after another into one file
int outputs(char **arguments) {
  const wrn_runner runner = open(arguments[0], "onnxruntime");
  const Bytes data = read(arguments[1]);
  const std::int64_t count = std::atoll(arguments[2]);
  wrn_description about{};
  about.size = sizeof about;
  report(wrn_describe(runner, &about));
  std::vector<Bytes> results;
  std::vector<wrn_buffer> into;
  for (std::int32_t at = 0; at < about.outputs; ++at) {
    wrn_tensor tensor{};
    tensor.size = sizeof tensor;
    report(wrn_output(runner, at, &tensor));
    results.emplace_back(static_cast<std::size_t>(count) * tensor.image_bytes);
    into.push_back({results.back().data(), results.back().size()});
  }
  const wrn_images images{data.data(), data.size(), count, WRN_UINT8};
  report(wrn_infer(runner, &images, into.data(), into.size()));
  std::ofstream file(arguments[3], std::ios::binary);
  for (const Bytes &result : results) file.write(result.data(), static_cast<std::streamsize>(result.size()));
  file.close();
  Bytes first(results[0].size());
  const wrn_buffer alone{first.data(), first.size()};
  report(wrn_infer(runner, &images, &alone, 1));
  if (first != results[0]) std::printf("differs\n");
  report(wrn_infer(runner, &images, into.data(), 2));  // of three
  wrn_tensor floats{};
  floats.size = sizeof floats;
  report(wrn_input(runner, WRN_FLOAT32, &floats));
  return 0;
}

// run BUNDLE PRECISION DTYPE IMAGES COUNT RESULTS: all outputs, one after another into one file
int run_all(char **arguments) {
  const wrn_runner runner = open(arguments[0], "onnxruntime", arguments[1]);
  const Bytes data = read(arguments[3]);
  const std::int64_t count = std::atoll(arguments[4]);
  wrn_description about{};
  about.size = sizeof about;
  report(wrn_describe(runner, &about));
  std::vector<Bytes> results;
  std::vector<wrn_buffer> into;
  for (std::int32_t at = 0; at < about.outputs; ++at) {
    wrn_tensor tensor{};
    tensor.size = sizeof tensor;
    wrn_output(runner, at, &tensor);
    results.emplace_back(static_cast<std::size_t>(count) * tensor.image_bytes);
    into.push_back({results.back().data(), results.back().size()});
  }
  const wrn_images images{data.data(), data.size(), count, std::atoi(arguments[2])};
  report(wrn_infer(runner, &images, into.data(), into.size()));
  std::ofstream file(arguments[5], std::ios::binary);
  for (const Bytes &result : results) file.write(result.data(), static_cast<std::streamsize>(result.size()));
  return report(wrn_close(runner));
}

// list FILE: opens each of its lines, BUNDLE TAB BACKEND TAB PRECISION, and closes what it could open
int list(char **arguments) {
  std::ifstream lines(arguments[0]);
  for (std::string bundle, backend, precision;
       std::getline(lines, bundle, '\t') && std::getline(lines, backend, '\t') && std::getline(lines, precision);) {
    const wrn_runner runner = open(bundle.c_str(), given(backend.c_str()), given(precision.c_str()));
    if (runner != 0) wrn_close(runner);
  }
  return 0;
}

// threads BUNDLE IMAGES COUNT THREADS ROUNDS RESULTS: each thread sends single images, good ones and too short ones.
int threads(char **arguments) {
  const wrn_runner runner = open(arguments[0]);
  const Bytes data = read(arguments[1]);
  const std::int64_t count = std::atoll(arguments[2]);
  const std::size_t image = data.size() / static_cast<std::size_t>(count);
  const std::size_t classes = output_of(runner).image_bytes / sizeof(float);
  std::vector<float> results(static_cast<std::size_t>(count) * classes);
  std::vector<int> wrong(static_cast<std::size_t>(std::atoi(arguments[3])));
  std::vector<std::thread> workers;
  for (std::size_t worker = 0; worker < wrong.size(); ++worker)
    workers.emplace_back([&, worker] {
      std::vector<float> mine(classes);
      for (int round = 0; round < std::atoi(arguments[4]); ++round)
        for (std::size_t at = worker; at < static_cast<std::size_t>(count); at += wrong.size()) {
          const wrn_images images{data.data() + at * image, image, 1, WRN_UINT8};
          const wrn_images bad{data.data() + at * image, worker + 1, 1, WRN_UINT8};
          const wrn_buffer into{mine.data(), classes * sizeof(float)};
          wrong[worker] += wrn_infer(runner, &bad, &into, 1) != WRN_USAGE;
          const std::string start = "images have " + std::to_string(worker + 1) + " bytes";
          wrong[worker] += std::strncmp(wrn_last_error(), start.c_str(), start.size()) != 0;
          wrong[worker] += wrn_infer(runner, &images, &into, 1) != WRN_OK || *wrn_last_error() != '\0';
          if (round > 0) wrong[worker] += std::memcmp(&results[at * classes], mine.data(), into.bytes) != 0;
          std::memcpy(&results[at * classes], mine.data(), into.bytes);
        }
    });
  for (auto &worker : workers) worker.join();
  for (const int each : wrong) std::printf("wrong\t%d\n", each);
  write(arguments[5], results);
  return report(wrn_close(runner));
}

// open BUNDLE BACKEND PRECISION: again and again, since some failures could only crash the second time
int open_twice(char **arguments) {
  for (int round = 0; round < 2; ++round) {
    const wrn_runner runner = open(arguments[0], given(arguments[1]), given(arguments[2]));
    if (runner != 0) report(wrn_close(runner));
  }
  return 0;
}

// race BUNDLE: several threads make the process's first call at once
int race(char **arguments) {
  std::vector<std::int32_t> statuses(6);
  std::vector<std::thread> workers;
  for (auto &status : statuses)
    workers.emplace_back([&status, arguments] {
      wrn_runner runner = 0;
      status = wrn_open(arguments[0], nullptr, &runner);
      if (status == WRN_OK) status = wrn_close(runner);
    });
  for (auto &worker : workers) worker.join();
  for (const std::int32_t status : statuses) std::printf("%d\t\n", status);
  return 0;
}

// closing BUNDLE IMAGES COUNT: one thread closes while others infer
int closing(char **arguments) {
  const wrn_runner runner = open(arguments[0]);
  const Bytes data = read(arguments[1]);
  const std::int64_t count = std::atoll(arguments[2]);
  std::vector<std::int32_t> last(4);
  std::vector<std::thread> workers;
  const std::size_t bytes = static_cast<std::size_t>(count) * output_of(runner).image_bytes;
  for (auto &status : last)
    workers.emplace_back([&] {
      std::vector<char> results(bytes);
      const wrn_images images{data.data(), data.size(), count, WRN_UINT8};
      const wrn_buffer into{results.data(), results.size()};
      while ((status = wrn_infer(runner, &images, &into, 1)) == WRN_OK) {
      }
    });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  report(wrn_close(runner));
  for (auto &worker : workers) worker.join();
  for (const std::int32_t status : last) std::printf("%d\t\n", status);
  return report(wrn_close(runner));
}

// Runs `work` in a forked child that then ends as a program does; prints how it ended: 0, or a signal if it hung.
template <typename Work>
void in_child(Work work) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    work();
    std::exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  std::printf("child\t%d\t%d\n", static_cast<int>(child), status);
}

// forks BUNDLE IMAGES COUNT: children make every call, while another thread of the parent infers
int forks(char **arguments) {
  in_child([arguments] { report(wrn_close(open(arguments[0]))); });  // before the parent has a Python
  const wrn_runner runner = open(arguments[0]);
  const Bytes data = read(arguments[1]);
  const std::int64_t count = std::atoll(arguments[2]);
  const std::size_t bytes = static_cast<std::size_t>(count) * output_of(runner).image_bytes;
  const wrn_images images{data.data(), data.size(), count, WRN_UINT8};
  std::atomic<bool> over{false};
  std::thread worker([&] {
    std::vector<char> results(bytes);
    const wrn_buffer into{results.data(), results.size()};
    while (!over) wrn_infer(runner, &images, &into, 1);
  });
  std::printf("parent\t%d\n", static_cast<int>(getpid()));
  for (int round = 0; round < 6; ++round) {
    usleep(30000);
    in_child([&] {
      std::vector<char> results(bytes);
      const wrn_buffer into{results.data(), results.size()};
      wrn_tensor tensor{};
      wrn_description about{};
      tensor.size = sizeof tensor;
      about.size = sizeof about;
      const std::int64_t batches[] = {1};
      report(wrn_infer(runner, &images, &into, 1));
      report(wrn_infer_device(runner, &images, &into, 1, nullptr));
      report(wrn_warmup(runner, batches, 1, 1));
      report(wrn_describe(runner, &about));
      report(wrn_input(runner, WRN_UINT8, &tensor));
      report(wrn_output(runner, 0, &tensor));
      report(wrn_text(runner, WRN_TEXT_MODEL, 0, nullptr, 0, nullptr));
      report(wrn_close(runner));
      open(arguments[0]);
    });
  }
  over = true;
  worker.join();
  return report(wrn_close(runner));
}

// slots BUNDLE IMAGES COUNT RESULTS: normalised images in a slot; another slot outlives the runner
int slots(char **arguments) {
  const wrn_runner runner = open(arguments[0]);
  const Bytes data = read(arguments[1]);
  const std::int64_t count = std::atoll(arguments[2]);
  wrn_slot slot{}, other{};
  slot.size = other.size = sizeof slot;
  report(wrn_slot_open(runner, count, &slot));  // ok
  report(wrn_slot_open(runner, 1, &other));     // ok
  if (slot.bytes != data.size() || slot.count != count || slot.dtype != WRN_FLOAT32) std::printf("differs\n");
  std::memcpy(slot.data, data.data(), slot.bytes);
  std::vector<float> results(static_cast<std::size_t>(count) * output_of(runner).image_bytes / sizeof(float));
  const wrn_images images{slot.data, slot.bytes, slot.count, slot.dtype};
  const wrn_buffer into{results.data(), results.size() * sizeof(float)};
  report(wrn_infer(runner, &images, &into, 1));  // ok
  write(arguments[3], results);
  report(wrn_slot_close(slot.id));  // ok
  report(wrn_slot_close(slot.id));
  report(wrn_slot_open(runner, 0, &slot));
  report(wrn_slot_open(runner, 1, nullptr));
  report(wrn_close(runner));  // ok
  std::memset(other.data, 0, other.bytes);
  report(wrn_slot_close(other.id));  // ok
  report(wrn_slot_open(runner, 1, &other));
  return 0;
}

// nonfinite BUNDLE PRECISION ALLOW VALUE: two float images, of which the second has a value everywhere
int nonfinite(char **arguments) {
  wrn_options options{};
  options.size = sizeof options;
  options.backend = "onnxruntime";
  options.precision = arguments[1];
  options.allow_nonfinite = std::atoi(arguments[2]);
  wrn_runner runner = 0;
  report(wrn_open(arguments[0], &options, &runner));
  std::vector<float> planes(2 * 3 * 32 * 32), results(2 * 10, -7.0F);
  std::fill(planes.begin() + 3 * 32 * 32, planes.end(), std::strtof(arguments[3], nullptr));
  const wrn_images images{planes.data(), planes.size() * sizeof(float), 2, WRN_FLOAT32};
  const wrn_buffer into{results.data(), results.size() * sizeof(float)};
  report(wrn_infer(runner, &images, &into, 1));
  for (const float value : results) std::printf("value\t%g\n", static_cast<double>(value));
  return report(wrn_close(runner));
}

// signed BUNDLE KEY: opens the bundle if the owner of the key has signed it
int signed_by(char **arguments) {
  wrn_options options{};
  options.size = sizeof options;
  options.backend = "onnxruntime";
  options.require_signature = arguments[1];
  wrn_runner runner = 0;
  report(wrn_open(arguments[0], &options, &runner));
  return runner == 0 ? 0 : report(wrn_close(runner));
}

volatile std::sig_atomic_t interrupted = 0;

void on_interrupt(int) { interrupted = 1; }

// signals BUNDLE: what handles each signal, before and after
int signals(char **arguments) {
  std::signal(SIGINT, on_interrupt);
  std::vector<struct sigaction> before(32), after(32);
  for (int number = 1; number < 32; ++number) sigaction(number, nullptr, &before[static_cast<std::size_t>(number)]);
  const wrn_runner runner = open(arguments[0]);
  for (int number = 1; number < 32; ++number) sigaction(number, nullptr, &after[static_cast<std::size_t>(number)]);
  for (std::size_t number = 1; number < 32; ++number)
    if (before[number].sa_handler != after[number].sa_handler) std::printf("changed\t%zu\n", number);
  std::raise(SIGINT);
  std::printf("interrupted\t%d\n", static_cast<int>(interrupted));
  return report(wrn_close(runner));
}

// leave BUNDLE: returns from main with a runner that is open, opened by a thread that has ended
int leave(char **arguments) {
  std::thread([arguments] { open(arguments[0]); }).join();
  open(arguments[0]);
  return 0;
}

// misuse BUNDLE: every wrong argument
int misuse(char **arguments) {
  wrn_runner runner = 0;
  report(wrn_close(7));  // before there is a Python
  report(wrn_open(nullptr, nullptr, &runner));
  report(wrn_open(arguments[0], nullptr, nullptr));
  wrn_options options{};
  report(wrn_open(arguments[0], &options, &runner));
  options.size = sizeof options;
  options.threads = -1;
  report(wrn_open(arguments[0], &options, &runner));
  options.threads = 0;
  options.contexts = -2;
  report(wrn_open(arguments[0], &options, &runner));
  options.contexts = 1 << 30;
  report(wrn_open(arguments[0], &options, &runner));
  options.contexts = 0;
  options.threads = 1 << 30;
  report(wrn_open(arguments[0], &options, &runner));
  options.threads = 0;
  options.precision = "int4";
  report(wrn_open(arguments[0], &options, &runner));
  options.precision = "\xff\xfe";
  report(wrn_open(arguments[0], &options, &runner));
  options.precision = nullptr;
  options.backend = "tensorflow";
  report(wrn_open(arguments[0], &options, &runner));
  struct {
    wrn_options known;
    std::int64_t unknown;
  } newer{};
  newer.known.size = sizeof newer;
  newer.unknown = 1;
  report(wrn_open(arguments[0], &newer.known, &runner));
  newer.unknown = 0;
  report(wrn_open(arguments[0], &newer.known, &runner));  // ok
  std::printf("opened\t%llu\n", static_cast<unsigned long long>(runner));

  wrn_tensor tensor{};
  report(wrn_output(runner, 0, &tensor));
  report(wrn_output(runner, 0, nullptr));
  tensor.size = sizeof tensor;
  report(wrn_output(runner, 5, &tensor));
  report(wrn_output(runner, -1, &tensor));
  report(wrn_input(runner, WRN_INT64, &tensor));
  report(wrn_input(runner, 99, &tensor));
  report(wrn_describe(runner, nullptr));
  char little[3];
  std::size_t needed = 0;
  report(wrn_text(runner, WRN_TEXT_MODEL, 0, little, sizeof little, &needed));
  std::printf("needed\t%zu\n", needed);
  report(wrn_text(runner, WRN_TEXT_MODEL, 0, nullptr, 3, &needed));
  report(wrn_text(runner, 77, 0, little, sizeof little, nullptr));
  report(wrn_text(runner, WRN_TEXT_LABEL, 10, little, sizeof little, nullptr));

  report(wrn_input(runner, WRN_UINT8, &tensor));  // ok
  std::vector<char> pixels(2 * tensor.image_bytes);
  std::vector<float> results(2 * 10 + 1, -7.0F);
  wrn_images images{pixels.data(), pixels.size(), 2, WRN_UINT8};
  wrn_buffer into{results.data(), 2 * 10 * sizeof(float)};
  report(wrn_infer(runner, nullptr, &into, 1));
  report(wrn_infer(runner, &images, nullptr, 1));
  report(wrn_infer(runner, &images, &into, 0));
  report(wrn_infer(runner, &images, &into, 3));
  images.count = 0;
  report(wrn_infer(runner, &images, &into, 1));
  images.count = -1;
  report(wrn_infer(runner, &images, &into, 1));
  images.count = 3;
  report(wrn_infer(runner, &images, &into, 1));
  images.count = INT64_MAX;
  report(wrn_infer(runner, &images, &into, 1));
  images.count = 2;
  images.dtype = WRN_FLOAT16;
  report(wrn_infer(runner, &images, &into, 1));
  images.dtype = WRN_FLOAT32;
  report(wrn_infer(runner, &images, &into, 1));
  images.dtype = WRN_UINT8;
  images.data = nullptr;
  report(wrn_infer(runner, &images, &into, 1));
  images.data = pixels.data();
  into.bytes = 2 * 10 * sizeof(float) - 1;
  report(wrn_infer(runner, &images, &into, 1));
  into.data = nullptr;
  report(wrn_infer(runner, &images, &into, 1));
  into = {results.data(), results.size() * sizeof(float)};
  for (const float value : results)
    if (value != -7.0F) std::printf("written\n");
  report(wrn_infer(runner, &images, &into, 1));  // ok
  std::printf("beyond\t%g\n", static_cast<double>(results.back()));
  report(wrn_infer_device(runner, &images, &into, 1, nullptr));
  std::vector<float> normalised(2 * tensor.image_bytes);
  const wrn_images planes{normalised.data(), normalised.size() * sizeof(float), 2, WRN_FLOAT32};
  report(wrn_infer_device(runner, &planes, &into, 1, nullptr));
  const std::int64_t batches[] = {0};
  report(wrn_warmup(runner, batches, 1, 1));
  report(wrn_warmup(runner, batches, 0, 0));
  report(wrn_warmup(runner, nullptr, 1, 1));
  report(wrn_close(0));
  report(wrn_close(runner + 1000));
  report(wrn_close(runner));  // ok
  report(wrn_close(runner));
  report(wrn_infer(runner, &images, &into, 1));
  wrn_runner again = 0;
  report(wrn_open(arguments[0], nullptr, &again));  // ok
  std::printf("opened\t%llu\n", static_cast<unsigned long long>(again));
  return 0;
}

struct Mode {
  const char *name;
  int arguments;
  int (*run)(char **);
};

constexpr Mode modes[] = {
    {"describe", 4, describe}, {"infer", 7, infer},     {"threads", 6, threads}, {"open", 3, open_twice},
    {"race", 1, race},         {"closing", 3, closing}, {"signals", 1, signals}, {"leave", 1, leave},
    {"misuse", 1, misuse},     {"outputs", 4, outputs}, {"forks", 3, forks},     {"nonfinite", 4, nonfinite},
    {"signed", 2, signed_by},  {"slots", 4, slots},     {"run", 6, run_all},     {"list", 1, list},
};

}  // namespace

int main(int count, char **arguments) {
  for (const Mode &mode : modes)
    if (count == mode.arguments + 2 && std::strcmp(arguments[1], mode.name) == 0) return mode.run(arguments + 2);
  return 64;
}
