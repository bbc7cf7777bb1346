// service BUNDLE [PORT]: names the classes of images over HTTP, without Python.
//
//   POST /classify   body: a binary PPM (P6) of the network's size -> {"label": "7", "score": 0.98, "best": [...]}
//   GET  /health     {"status": "ok", "model": "wrn-10-1", ...}
//
//   curl --data-binary @seven.ppm http://127.0.0.1:8080/classify
//
// Threads of the server share one runner. SIGTERM or SIGINT: no new requests, the running ones are answered.

#include <httplib.h>
#include <wrn_runner.h>

#include <pthread.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t shown = 3;
constexpr std::size_t largest_header = 64;  // bytes of a PPM before its pixels

// What the client did wrong.
struct BadRequest : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A text as JSON.
std::string quoted(const std::string &text) {
  std::string made = "\"";
  for (const char each : text) {
    char escaped[8];
    std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(each)));
    if (static_cast<unsigned char>(each) < 0x20) {
      made += escaped;
    } else {
      if (each == '"' || each == '\\') made += '\\';
      made += each;
    }
  }
  return made + "\"";
}

// The bundle, opened for all threads.
class Classifier {
 public:
  explicit Classifier(const char *bundle) {
    wrn_options options{};
    options.size = sizeof options;
    options.backend = "onnxruntime";
    options.threads = 1;  // requests run side by side
    check(wrn_open(bundle, &options, &runner_));
    network_.size = sizeof network_;
    input_.size = output_.size = sizeof(wrn_tensor);
    check(wrn_describe(runner_, &network_));
    check(wrn_input(runner_, WRN_UINT8, &input_));
    check(wrn_output(runner_, 0, &output_));
    if (output_.dtype != WRN_FLOAT32 || output_.rank != 1) throw std::runtime_error("this bundle has no logits");
    const std::int64_t one = 1;
    check(wrn_warmup(runner_, &one, 1, 1));
  }
  ~Classifier() { wrn_close(runner_); }
  Classifier(const Classifier &) = delete;
  Classifier &operator=(const Classifier &) = delete;

  std::size_t largest_request() const { return input_.image_bytes + largest_header; }

  // The classes of an image, best first, as JSON.
  std::string classify(const std::string &ppm) const {
    const char *pixels = ppm.data() + header(ppm);
    std::vector<float> logits(static_cast<std::size_t>(output_.shape[0]));
    const wrn_images images{pixels, input_.image_bytes, 1, WRN_UINT8};
    const wrn_buffer into{logits.data(), logits.size() * sizeof(float)};
    check(wrn_infer(runner_, &images, &into, 1));
    std::vector<std::size_t> order(logits.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const std::size_t best = std::min(shown, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(best), order.end(),
                      [&logits](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit - logits[order[0]]));
    std::string listed;
    for (std::size_t at = 0; at < best; ++at) {
      const double score = std::exp(static_cast<double>(logits[order[at]] - logits[order[0]])) / sum;
      listed += (at > 0 ? ", {" : "{") + named(order[at], score) + "}";
    }
    return "{" + named(order[0], 1 / sum) + ", \"best\": [" + listed + "]}\n";
  }

  std::string health() const {
    return "{\"status\": \"ok\", \"model\": " + quoted(text(WRN_TEXT_MODEL, 0)) +
           ", \"precision\": " + quoted(text(WRN_TEXT_PRECISION, 0)) + "}\n";
  }

 private:
  static void check(std::int32_t status) {
    if (status != WRN_OK) throw std::runtime_error(wrn_last_error());
  }

  // The length of a PPM's header, whose image must have the network's size.
  std::size_t header(const std::string &ppm) const {
    int width = 0, height = 0, most = 0, length = 0;
    if (std::sscanf(ppm.c_str(), "P6 %d %d %d%n", &width, &height, &most, &length) != 3 || most != 255)
      throw BadRequest("the body is not a binary PPM with 255 levels (P6)");
    if (width != network_.width || height != network_.height)
      throw BadRequest("the image is " + std::to_string(width) + "x" + std::to_string(height) + ": expected " +
                       std::to_string(network_.width) + "x" + std::to_string(network_.height));
    const std::size_t start = static_cast<std::size_t>(length) + 1;  // one white space ends the header
    if (ppm.size() != start + input_.image_bytes)
      throw BadRequest("the body has " + std::to_string(ppm.size()) + " bytes: expected " +
                       std::to_string(start + input_.image_bytes));
    return start;
  }

  std::string text(std::int32_t kind, std::int64_t index) const {
    std::size_t needed = 0;
    check(wrn_text(runner_, kind, index, nullptr, 0, &needed));
    std::string made(needed, '\0');
    check(wrn_text(runner_, kind, index, made.data(), made.size(), nullptr));
    made.resize(needed - 1);
    return made;
  }

  std::string named(std::size_t index, double score) const {
    const std::string label = text(WRN_TEXT_LABEL, static_cast<std::int64_t>(index));
    char number[32];
    std::snprintf(number, sizeof number, "%.6f", score);
    return "\"label\": " + quoted(label.empty() ? std::to_string(index) : label) + ", \"score\": " + number;
  }

  wrn_runner runner_ = 0;
  wrn_description network_{};
  wrn_tensor input_{}, output_{};
};

void serve(const char *bundle, int port) {
  const Classifier classifier(bundle);
  httplib::Server server;
  server.set_payload_max_length(classifier.largest_request());
  server.Get("/health", [&classifier](const httplib::Request &, httplib::Response &response) {
    response.set_content(classifier.health(), "application/json");
  });
  server.Post("/classify", [&classifier](const httplib::Request &request, httplib::Response &response) {
    try {
      response.set_content(classifier.classify(request.body), "application/json");
    } catch (const BadRequest &error) {
      response.status = 422;
      response.set_content("{\"error\": " + quoted(error.what()) + "}\n", "application/json");
    } catch (const std::exception &error) {
      response.status = 500;
      response.set_content("{\"error\": " + quoted(error.what()) + "}\n", "application/json");
    }
  });
  const int bound = port != 0 ? (server.bind_to_port("127.0.0.1", port) ? port : -1)
                              : server.bind_to_any_port("127.0.0.1");
  if (bound < 0) throw std::runtime_error("port " + std::to_string(port) + " is not free");
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);  // before the server's threads, which inherit it
  std::thread([&server, ending] {
    int signal = 0;
    sigwait(&ending, &signal);
    server.stop();
  }).detach();
  std::printf("listening on http://127.0.0.1:%d\n", bound);
  std::fflush(stdout);
  server.listen_after_bind();
}

}  // namespace

int main(int count, char **arguments) {
  if (count < 2 || count > 3) {
    std::fprintf(stderr, "usage: service BUNDLE [PORT]; port 0: any free one\n");
    return 2;
  }
  try {
    serve(arguments[1], count == 3 ? std::atoi(arguments[2]) : 8080);
    return 0;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
