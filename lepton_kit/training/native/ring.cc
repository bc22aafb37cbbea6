// Allreduce over shared memory for the ranks of one host, as a TensorFlow operation.
//
// One anonymous segment holds a header and, for each of two parities, one slot per rank. Tensors pass through it piece
// by piece, a slot at most, so that a large model needs no more shared memory than a middling one. Piece c of a rank is
// copied, scaled, into slot (c mod 2, rank); the rank announces its arrival, waits until every rank has arrived, and
// adds the slots up in rank order, so every rank computes the same bits. Two parities suffice: a rank that reaches
// piece c + 2 has seen every other rank arrive at c + 1, hence finish reading c.
//
// The driver maps the same segment and sets `aborted` when a worker dies; every waiting rank then fails at once.

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
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
  std::atomic<uint32_t> aborted;  // offset 0: the driver writes it
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
  uint64_t pieces = 0;
  std::atomic<int64_t> waited_nanoseconds{0};

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

bool AllArrived(uint64_t pieces) {
  for (int r = 0; r < ring.size; ++r) {
    if (ring.header()->arrivals[r].pieces.load(std::memory_order_acquire) < pieces) return false;
  }
  return true;
}

// True when every rank has brought this many pieces, false when the ring was aborted.
bool WaitForAll(uint64_t pieces) {
  const auto start = std::chrono::steady_clock::now();
  bool complete = false;
  for (int spin = 0;; ++spin) {
    if (ring.header()->aborted.load(std::memory_order_acquire)) break;
    const uint32_t bell = ring.header()->bell.load();
    complete = AllArrived(pieces);
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
  ring.waited_nanoseconds += std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count();
  return complete;
}

}  // namespace

extern "C" {

// Bytes of a segment for `size` ranks whose tensors together take `largest` bytes.
size_t lepton_ring_bytes(int size, size_t largest) { return kHeaderBytes + 2 * size * SlotBytes(largest); }

// Joins the ring in the segment behind a file descriptor; 0, or -1 when it can't be mapped.
int lepton_ring_open(int descriptor, int rank, int size, size_t largest) {
  if (ring.base != nullptr || size < 1 || size > kMaxRanks || rank < 0 || rank >= size) return -1;
  const size_t bytes = lepton_ring_bytes(size, largest);
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (base == MAP_FAILED) return -1;
  ring.base = static_cast<char*>(base);
  ring.bytes = bytes;
  ring.slot_bytes = SlotBytes(largest);
  ring.rank = rank;
  ring.size = size;
  ring.pieces = 0;
  return 0;
}

void lepton_ring_close() {
  if (ring.base != nullptr) munmap(ring.base, ring.bytes);
  ring.base = nullptr;
}

// Nanoseconds that this process has spent waiting for others since it started.
int64_t lepton_ring_waited() { return ring.waited_nanoseconds.load(); }
}

REGISTER_OP("LeptonRingSum")
    .Input("tensors: N * float")
    .Input("scale: float")
    .Output("sums: N * float")
    .Attr("N: int >= 1")
    .Attr("scaled: int >= 0")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      for (int i = 0; i + 1 < context->num_inputs(); ++i) context->set_output(i, context->input(i));
      return absl::OkStatus();
    });

class RingSum : public tensorflow::OpKernel {
 public:
  explicit RingSum(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("scaled", &scaled_));
  }

  void Compute(tensorflow::OpKernelContext* context) override {
    const int count = context->num_inputs() - 1;
    const float scale = context->input(count).scalar<float>()();
    OP_REQUIRES(context, ring.base != nullptr, absl::FailedPreconditionError("LeptonRing: not in a ring"));
    if (ring.size == 1 && scale == 1.0f) {
      for (int i = 0; i < count; ++i) context->set_output(i, context->input(i));
      return;
    }
    std::vector<Part> parts(count);
    int64_t elements = 0;
    for (int i = 0; i < count; ++i) {
      parts[i] = {context->input(i).flat<float>().data(), nullptr, elements, context->input(i).NumElements()};
      elements += parts[i].elements;
    }
    // A result may take the memory of what it is summed from: each piece of that is read before it is written.
    for (int i = 0; i < count; ++i) {
      tensorflow::Tensor* output = nullptr;
      OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({i}, i, context->input(i).shape(), &output));
      parts[i].sum = output->flat<float>().data();
    }
    const int64_t most = ring.slot_bytes / sizeof(float);
    int64_t start = 0;
    do {
      const int64_t stop = std::min(elements, start + most);
      const uint64_t piece = ring.pieces++;
      Contribute(parts, scale, piece, start, stop);
      Announce(piece);
      OP_REQUIRES(context, WaitForAll(piece + 1), absl::AbortedError("LeptonRing: a rank has left"));
      Collect(parts, piece, start, stop);
      start = stop;
    } while (start < elements);
  }

 private:
  struct Part {  // one tensor, and where it begins in the row of all of them
    const float* source;
    float* sum;
    int64_t first;
    int64_t elements;
  };

  // Calls `act(tensor, from, place, elements)` for what of each tensor lies in start .. stop; `place` counts from start.
  template <typename Act>
  static void EachWithin(const std::vector<Part>& parts, int64_t start, int64_t stop, Act act) {
    for (size_t i = 0; i < parts.size(); ++i) {
      const int64_t from = std::max(start, parts[i].first);
      const int64_t to = std::min(stop, parts[i].first + parts[i].elements);
      if (from < to) act(i, from - parts[i].first, from - start, to - from);
    }
  }

  // The first `scaled_` tensors are multiplied by the scale; the others count as they are.
  void Contribute(const std::vector<Part>& parts, float scale, uint64_t piece, int64_t start, int64_t stop) {
    float* slot = ring.slot(piece, ring.rank);
    EachWithin(parts, start, stop, [&](size_t i, int64_t from, int64_t place, int64_t elements) {
      const float* source = parts[i].source + from;
      // A rank without samples has scale 0; its values may be NaN, so they are not multiplied but left out.
      if (scale == 0.0f) {
        std::memset(slot + place, 0, elements * sizeof(float));
      } else if (static_cast<int>(i) >= scaled_) {
        std::memcpy(slot + place, source, elements * sizeof(float));
      } else {
        Scale(slot + place, source, scale, elements);
      }
    });
  }

  static void Announce(uint64_t piece) {
    Header* header = ring.header();
    header->arrivals[ring.rank].pieces.store(piece + 1, std::memory_order_release);
    header->bell.fetch_add(1);
    if (header->sleepers.load() > 0) Futex(&header->bell, FUTEX_WAKE, INT_MAX);
  }

  static void Collect(const std::vector<Part>& parts, uint64_t piece, int64_t start, int64_t stop) {
    EachWithin(parts, start, stop, [&](size_t i, int64_t from, int64_t place, int64_t elements) {
      float* sum = parts[i].sum + from;
      const float* first = ring.slot(piece, 0) + place;
      if (ring.size == 1) {
        std::memcpy(sum, first, elements * sizeof(float));
      } else {
        Sum(sum, first, ring.slot(piece, 1) + place, elements);
      }
      for (int r = 2; r < ring.size; ++r) Accumulate(sum, ring.slot(piece, r) + place, elements);
    });
  }

  int scaled_ = 0;
};

REGISTER_KERNEL_BUILDER(Name("LeptonRingSum").Device(tensorflow::DEVICE_CPU), RingSum);
