// The memory that the ranks of one host share, and how they wait for each other in it.
//
// One anonymous segment holds a header and, for each of two parities, one slot per rank. Tensors pass through it piece
// by piece, a slot at most, so that a large model needs no more shared memory than a middling one. Piece c lies in the
// slots of parity c mod 2. A rank announces each piece once it has written its part of it (or has nothing to write), and
// only after it has read what it needs of the piece before. So whoever has seen all ranks announce piece c - 1 may
// write piece c: nobody reads c - 2 any more.
#pragma once

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

constexpr int kMaxRanks = 256;
constexpr size_t kPage = 4096;
constexpr size_t kPieceBytes = 16 << 20;      // the largest slot
constexpr int kSpins = 2000;                  // about 50 microseconds before a rank goes to sleep
constexpr long kSleepNanoseconds = 20000000;  // a sleeper looks for `aborted` at least every 20 ms

struct alignas(64) Arrival {
  std::atomic<uint64_t> pieces;
};

struct Header {
  std::atomic<uint32_t> aborted;  // offset 0: the driver writes it, too
  std::atomic<uint32_t> bell;     // changes with every arrival; sleepers wait on it
  std::atomic<uint32_t> sleepers;
  Arrival arrivals[kMaxRanks];
};

constexpr size_t kHeaderBytes = (sizeof(Header) + kPage - 1) / kPage * kPage;

struct Ring {
  char* base = nullptr;
  size_t bytes = 0;
  size_t slot_bytes = 0;
  int rank = 0;
  int size = 1;
  bool across = false;  // other hosts take part: the sum of this one is not the whole
  uint64_t pieces = 0;
  std::chrono::steady_clock::time_point reduced;  // when the leader got the sum of its host
  std::atomic<int64_t> inside_nanoseconds{0};

  Header* header() { return reinterpret_cast<Header*>(base); }
  float* slot(uint64_t piece, int rank_of_slot) {
    return reinterpret_cast<float*>(base + kHeaderBytes + ((piece & 1) * size + rank_of_slot) * slot_bytes);
  }
};

Ring ring;

size_t RoundUp(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

size_t SlotBytes(size_t largest) { return std::min(kPieceBytes, RoundUp(largest)); }

long Futex(std::atomic<uint32_t>* word, int operation, uint32_t value, const timespec* timeout = nullptr) {
  return syscall(SYS_futex, word, operation, value, timeout, nullptr, 0);
}

void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The loops over the tensors, compiled for several instruction sets where the compiler can choose at load time.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define LEPTON_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define LEPTON_CLONES
#endif

LEPTON_CLONES void Scale(float* __restrict target, const float* __restrict source, float factor, int64_t elements) {
  for (int64_t k = 0; k < elements; ++k) target[k] = source[k] * factor;
}

LEPTON_CLONES void Sum(float* __restrict sum, const float* __restrict first, const float* __restrict second,
                       int64_t elements) {
  for (int64_t k = 0; k < elements; ++k) sum[k] = first[k] + second[k];
}

LEPTON_CLONES void Accumulate(float* __restrict sum, const float* __restrict next, int64_t elements) {
  for (int64_t k = 0; k < elements; ++k) sum[k] += next[k];
}

bool Arrived(uint64_t pieces, int ranks) {
  for (int r = 0; r < ranks; ++r) {
    if (ring.header()->arrivals[r].pieces.load(std::memory_order_acquire) < pieces) return false;
  }
  return true;
}

// Counts the time until it goes, or since an earlier moment, as spent in sums.
struct Inside {
  std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
  ~Inside() {
    ring.inside_nanoseconds += std::chrono::nanoseconds(std::chrono::steady_clock::now() - since).count();
  }
};

// True when each of the first `ranks` ranks has announced this many pieces, false when the ring was aborted.
bool WaitFor(uint64_t pieces, int ranks) {
  bool complete = false;
  for (int spin = 0;; ++spin) {
    if (ring.header()->aborted.load(std::memory_order_acquire)) break;
    const uint32_t bell = ring.header()->bell.load();
    complete = Arrived(pieces, ranks);
    if (complete) break;
    if (spin < kSpins) {
      Relax();
      continue;
    }
    ring.header()->sleepers.fetch_add(1);
    const timespec timeout{0, kSleepNanoseconds};
    Futex(&ring.header()->bell, FUTEX_WAIT, bell, &timeout);
    ring.header()->sleepers.fetch_sub(1);
  }
  return complete;
}

bool WaitForAll(uint64_t pieces) { return WaitFor(pieces, ring.size); }

void WakeSleepers(Header* header) {
  header->bell.fetch_add(1);
  if (header->sleepers.load() > 0) Futex(&header->bell, FUTEX_WAKE, INT_MAX);
}

void Announce(uint64_t piece) {
  Header* header = ring.header();
  header->arrivals[ring.rank].pieces.store(piece + 1, std::memory_order_release);
  WakeSleepers(header);
}

}  // namespace

extern "C" {

// Bytes of a segment for `size` ranks whose tensors together take `largest` bytes.
size_t lepton_ring_bytes(int size, size_t largest) { return kHeaderBytes + 2 * size * SlotBytes(largest); }

// Joins the ring in the segment behind a file descriptor; 0, or -1 when it can't be mapped. A rank that is alone on its
// host needs no segment (-1). `across`: other hosts take part.
int lepton_ring_open(int descriptor, int rank, int size, size_t largest, int across) {
  if (ring.base != nullptr || size < 1 || size > kMaxRanks || rank < 0 || rank >= size) return -1;
  const int flags = descriptor < 0 && size == 1 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
  const size_t bytes = lepton_ring_bytes(size, largest);
  // Populated at once: each rank comes to touch all of it, and a first touch inside a sum would have all ranks wait.
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags | MAP_POPULATE, descriptor, 0);
  if (base == MAP_FAILED) return -1;
  ring.base = static_cast<char*>(base);
  ring.bytes = bytes;
  ring.slot_bytes = SlotBytes(largest);
  ring.rank = rank;
  ring.size = size;
  ring.across = across != 0;
  ring.pieces = 0;
  ring.reduced = {};
  return 0;
}

// Wakes all who wait in the ring of this host; from now on they and all others fail.
void lepton_ring_abort() {
  if (ring.base == nullptr) return;
  ring.header()->aborted.store(1, std::memory_order_release);
  WakeSleepers(ring.header());
}

void lepton_ring_close() {
  if (ring.base != nullptr) munmap(ring.base, ring.bytes);
  ring.base = nullptr;
}

// Nanoseconds that this process has spent in sums since it started: for the sum itself, and waiting for others.
int64_t lepton_ring_inside() { return ring.inside_nanoseconds.load(); }
}

namespace {

constexpr char kNotInRing[] = "LeptonRing: not in a ring";
constexpr char kLeft[] = "LeptonRing: a rank has left";

struct Part {  // one tensor, and where it begins in the row of all of them
  const float* source;
  float* sum;
  int64_t first;
  int64_t elements;
};

// `count` inputs from the first one on, in a row.
std::vector<Part> Row(tensorflow::OpKernelContext* context, int first, int count) {
  std::vector<Part> parts(count);
  int64_t elements = 0;
  for (int i = 0; i < count; ++i) {
    const tensorflow::Tensor& input = context->input(first + i);
    parts[i] = {input.flat<float>().data(), nullptr, elements, input.NumElements()};
    elements += parts[i].elements;
  }
  return parts;
}

int64_t Elements(const std::vector<Part>& parts) { return parts.empty() ? 0 : parts.back().first + parts.back().elements; }

// Memory for the results. A result may take that of an input of its shape, which is read before it is written.
absl::Status Allocate(tensorflow::OpKernelContext* context, int first, std::vector<Part>* parts) {
  for (size_t i = 0; i < parts->size(); ++i) {
    tensorflow::Tensor* output = nullptr;
    const int input = first + static_cast<int>(i);
    TF_RETURN_IF_ERROR(context->forward_input_or_allocate_output({input}, i, context->input(input).shape(), &output));
    (*parts)[i].sum = output->flat<float>().data();
  }
  return absl::OkStatus();
}

// Calls `act(tensor, from, place, elements)` for what of each tensor lies in start .. stop; `place` counts from start.
template <typename Act>
void EachWithin(const std::vector<Part>& parts, int64_t start, int64_t stop, Act act) {
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t from = std::max(start, parts[i].first);
    const int64_t to = std::min(stop, parts[i].first + parts[i].elements);
    if (from < to) act(i, from - parts[i].first, from - start, to - from);
  }
}

// Calls `act(piece, start, stop)` for each piece of so many elements; at least once. False as soon as one is.
template <typename Act>
bool EachPiece(int64_t elements, Act act) {
  const int64_t most = ring.slot_bytes / sizeof(float);
  int64_t start = 0;
  do {
    const int64_t stop = std::min(elements, start + most);
    if (!act(ring.pieces++, start, stop)) return false;
    start = stop;
  } while (start < elements);
  return true;
}

// Writes this rank's part of start .. stop. The first `scaled` tensors are multiplied by the scale; others count whole.
void Contribute(float* target, const std::vector<Part>& parts, float scale, int scaled, int64_t start, int64_t stop) {
  EachWithin(parts, start, stop, [&](size_t i, int64_t from, int64_t place, int64_t elements) {
    const float* source = parts[i].source + from;
    // A rank without samples has scale 0; its values may be NaN, so they are not multiplied but left out.
    if (scale == 0.0f) {
      std::memset(target + place, 0, elements * sizeof(float));
    } else if (static_cast<int>(i) >= scaled) {
      std::memcpy(target + place, source, elements * sizeof(float));
    } else {
      Scale(target + place, source, scale, elements);
    }
  });
}

// The sum of what all ranks have written of a piece, from `place` on.
void Collect(float* sum, uint64_t piece, int64_t place, int64_t elements) {
  const float* first = ring.slot(piece, 0) + place;
  if (ring.size == 1) {
    std::memcpy(sum, first, elements * sizeof(float));
    return;
  }
  Sum(sum, first, ring.slot(piece, 1) + place, elements);
  for (int r = 2; r < ring.size; ++r) Accumulate(sum, ring.slot(piece, r) + place, elements);
}

}  // namespace
