#include "bundle/crypto.hpp"

#include <dlfcn.h>

#include <cstddef>
#include <memory>

#include "error.hpp"

namespace wrn {
namespace {

// OpenSSL's functions that are used, by their signatures in OpenSSL 3; its objects are opaque.
struct OpenSsl {
  void *(*BIO_new_mem_buf)(const void *, int);
  int (*BIO_free)(void *);
  void *(*PEM_read_bio_PUBKEY)(void *, void **, void *, void *);
  void (*EVP_PKEY_free)(void *);
  int (*EVP_PKEY_get_group_name)(const void *, char *, std::size_t, std::size_t *);
  void *(*EVP_MD_CTX_new)();
  void (*EVP_MD_CTX_free)(void *);
  const void *(*EVP_sha256)();
  const void *(*EVP_sha384)();
  const void *(*EVP_sha512)();
  int (*EVP_DigestVerifyInit)(void *, void **, const void *, void *, void *);
  int (*EVP_DigestVerify)(void *, const unsigned char *, std::size_t, const unsigned char *, std::size_t);
};

template <class Function>
void bind(void *library, const char *name, Function &function) {
  *reinterpret_cast<void **>(&function) = dlsym(library, name);
  if (function == nullptr)
    throw Error(WRN_MACHINE, std::string("libcrypto.so.3 has no ") + name + ": expected OpenSSL 3");
}

OpenSsl load() {
  void *library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    throw Error(WRN_MACHINE, std::string("checking a signature needs OpenSSL 3 (") + dlerror() +
                                 "): install libcrypto.so.3, as in `apt install libssl3`");
  OpenSsl made{};
  bind(library, "BIO_new_mem_buf", made.BIO_new_mem_buf);
  bind(library, "BIO_free", made.BIO_free);
  bind(library, "PEM_read_bio_PUBKEY", made.PEM_read_bio_PUBKEY);
  bind(library, "EVP_PKEY_free", made.EVP_PKEY_free);
  bind(library, "EVP_PKEY_get_group_name", made.EVP_PKEY_get_group_name);
  bind(library, "EVP_MD_CTX_new", made.EVP_MD_CTX_new);
  bind(library, "EVP_MD_CTX_free", made.EVP_MD_CTX_free);
  bind(library, "EVP_sha256", made.EVP_sha256);
  bind(library, "EVP_sha384", made.EVP_sha384);
  bind(library, "EVP_sha512", made.EVP_sha512);
  bind(library, "EVP_DigestVerifyInit", made.EVP_DigestVerifyInit);
  bind(library, "EVP_DigestVerify", made.EVP_DigestVerify);
  return made;
}

using Owned = std::unique_ptr<void, void (*)(void *)>;

const unsigned char *bytes(const std::string &text) { return reinterpret_cast<const unsigned char *>(text.data()); }

}  // namespace

std::string signature_fault(
    const std::string &key, const std::string &data, const std::string &signature, const std::string &name) {
  const OpenSsl ssl = load();
  void *text = ssl.BIO_new_mem_buf(key.data(), static_cast<int>(key.size()));
  const Owned read(text != nullptr ? ssl.PEM_read_bio_PUBKEY(text, nullptr, nullptr, nullptr) : nullptr,
                  ssl.EVP_PKEY_free);
  if (text != nullptr) ssl.BIO_free(text);
  char group[64] = "";
  std::size_t length = 0;
  const bool curve = read != nullptr && ssl.EVP_PKEY_get_group_name(read.get(), group, sizeof group, &length) == 1;
  const std::string named = curve ? group : "";
  const void *hash = named == "prime256v1"  ? ssl.EVP_sha256()
                     : named == "secp384r1" ? ssl.EVP_sha384()
                     : named == "secp521r1" ? ssl.EVP_sha512()
                                            : nullptr;
  if (hash == nullptr)
    throw Error(WRN_ERROR, name + " cannot be used (" + (read == nullptr ? "damaged" : "another kind of key") +
                               "): expected an intact PEM file with a public key of P-256, P-384 or P-521");
  const Owned context(ssl.EVP_MD_CTX_new(), ssl.EVP_MD_CTX_free);
  if (context == nullptr ||
      ssl.EVP_DigestVerifyInit(context.get(), nullptr, hash, nullptr, read.get()) != 1)
    throw Error(WRN_MACHINE, "OpenSSL cannot check a signature with a key of " + named + ": look at its configuration");
  const int fits = ssl.EVP_DigestVerify(context.get(), bytes(signature), signature.size(), bytes(data), data.size());
  return fits == 1 ? "" : "the key does not fit";
}

}  // namespace wrn
