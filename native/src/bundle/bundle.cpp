#include "bundle/bundle.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <set>
#include <utility>
#include <vector>

#include "bundle/files.hpp"
#include "onnx/graph.hpp"
#include "bundle/signature.hpp"
#include "error.hpp"
#include "text/format.hpp"
#include "text/sha256.hpp"

namespace wrn {
namespace {

constexpr const char *kManifest = "manifest.json";
constexpr int kReadings = 10;  // of a bundle that changes meanwhile, before the last error counts

bool is_file(const std::string &path) {
  struct stat about{};
  return stat(path.c_str(), &about) == 0 && S_ISREG(about.st_mode);
}

std::string parent_of(const std::string &path) {
  const std::size_t slash = path.rfind('/');
  return slash == path.npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

bool starts_with(const std::string &text, const char *start) { return text.rfind(start, 0) == 0; }

}  // namespace

Bundle::Bundle(const std::string &folder, std::string signed_by)
    : folder_(plain_path(folder)), signed_by_(std::move(signed_by)), content_(read_manifest()),
      manifest_(Manifest::parse(content_, join(folder_, kManifest))) {}

std::string Bundle::read_manifest() const {
  try {
    const std::string name = join(folder_, kManifest);
    const std::string content = read_text(open_of_bundle(folder_, kManifest), name);
    if (!signed_by_.empty()) check_signature(content, folder_, signed_by_);
    return content;
  } catch (const SystemError &error) {
    if (error.number() != ENOENT && error.number() != ENOTDIR) throw;
    if (is_file(folder_)) {
      const std::string parent = parent_of(folder_);
      throw Error(WRN_ERROR, folder_ + " is a file, not a bundle: expected " +
                                 (is_file(join(parent, kManifest))
                                      ? "its folder, " + parent
                                      : "a bundle's folder; `wrn-deploy import` takes ONNX"));
    }
    throw Error(WRN_ERROR, folder_ + " is not a bundle: it has no manifest.json; make one with `wrn-deploy export "
                                     "MODEL --out " + folder_ + "`");
  }
}

std::string Bundle::file(const std::string &key) const {
  return join(folder_, manifest_.artifacts.find(key)->second.path);
}

std::string Bundle::load(const std::string &key, bool graph) {
  for (int reading = 0;; ++reading) try {
      return read(key, graph);
    } catch (const Unfit &) {
      if (reading == kReadings) throw;
      std::string now = read_manifest();
      if (now == content_) throw;
      manifest_ = Manifest::parse(now, join(folder_, kManifest));
      content_ = std::move(now);
    }
}

std::string Bundle::read(const std::string &key, bool graph) const {
  const std::string remedy = command_for(key);
  const auto found = manifest_.artifacts.find(key);
  if (found == manifest_.artifacts.end()) throw Unfit(folder_ + " has no " + key + ": run `" + remedy + "`");
  const Artifact &artifact = found->second;
  check_origin(artifact, remedy);
  const std::string path = file(key);
  std::string content;
  bool whole = false;
  try {
    const File opened = open_of_bundle(folder_, artifact.path);
    if (static_cast<std::uint64_t>(opened.about().st_size) == artifact.size_bytes) {
      content = opened.read(static_cast<std::size_t>(artifact.size_bytes), path);
      Sha256 digest;
      digest.add(content.data(), content.size());
      whole = content.size() == artifact.size_bytes && digest.hex() == artifact.sha256;
    }
  } catch (const SystemError &error) {
    throw Unfit(path + " is missing or cannot be read (" + reason(error.number()) + "): run `" + remedy + "`");
  } catch (const Unfit &error) {
    throw Unfit(std::string(error.what()) + "; run `" + remedy + "`");
  }
  if (!whole)
    throw Unfit(path + " is not the file that the manifest describes (sha256 " + artifact.sha256.substr(0, 12) + ", " +
                std::to_string(artifact.size_bytes) + " bytes): it was changed or damaged; run `" + remedy + "`");
  if (graph) check_graph(content, path);
  return content;
}

void Bundle::check_origin(const Artifact &artifact, const std::string &remedy) const {
  std::vector<const Artifact *> waiting = {&artifact};
  std::set<std::string> checked;
  while (!waiting.empty()) {
    const Artifact &made = *waiting.back();
    waiting.pop_back();
    checked.insert(made.key);
    for (const auto &[key, digest] : made.parents) {
      const auto parent = manifest_.artifacts.find(key);
      if (parent == manifest_.artifacts.end()) continue;
      if (parent->second.sha256 != digest)
        throw Unfit(made.key + " was made from " + key + " " + digest.substr(0, 12) + ", which is now " +
                    parent->second.sha256.substr(0, 12) + ": run `" + remedy + "`");
      if (checked.count(key) == 0) waiting.push_back(&parent->second);
    }
  }
}

std::string Bundle::command_for(const std::string &key) const {
  if (starts_with(key, "plan-")) {
    const std::size_t dash = key.find('-', 5);
    return "wrn-deploy build-engine " + folder_ + " --" + key.substr(5, dash - 5) + " --flavor " + key.substr(dash + 1);
  }
  if (starts_with(key, "onnx-int8")) return "wrn-deploy calibrate " + folder_ + " --calib-data DATA";
  if (model().family == "imported")
    return "wrn-deploy import FILE.onnx --mean R,G,B --std R,G,B --out " + folder_;
  return "wrn-deploy export " + model().name + " --weights FILE --out " + folder_;
}

}  // namespace wrn
