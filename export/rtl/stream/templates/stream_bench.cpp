// Bench of the core @NAME@ for Verilator: plain C++, no framework.
//
//   @NAME@_tb                                   the vectors of @NAME@_vectors.h, with random waits on both streams
//   @NAME@_tb --in F --out F [--seed N] [+tap]  other frames: 16-bit little-endian codes; no waits without --seed; +tap
//                                               writes every beat of every tensor to tap_*.hex
//
// It fails on a wrong code, a wrong tlast or tuser, a beat that changes or disappears while it is refused, a beat nobody
// expects, a frame that never ends, and a broken frame that is not reported. Registers start with random contents, and
// frames follow each other without a gap, so nothing stale can pass for a result.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>
#include "V@NAME@.h"
#include "verilated.h"
#include "@NAME@_vectors.h"

namespace {

constexpr uint64_t kCycles = @CYCLES@;  // of one frame when neither side waits
constexpr size_t kLanes = @LANES@;     // codes in a beat of the input
constexpr size_t kLaneBits = @LANE_BITS@;
constexpr size_t kBeats = kIn / kLanes;
constexpr uint16_t kPoison = 0xdead;
using Codes = std::vector<uint16_t>;

struct Random {
  uint64_t state;
  uint32_t next() {  // xorshift64*
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return static_cast<uint32_t>((state * 2685821657736338717ULL) >> 33);
  }
};

struct Result {
  Codes codes;
  std::vector<uint64_t> begins, ends;  // clocks of each frame's first beat in and last beat out
  uint64_t total = 0;
  std::string error;
};

class Bench {
 public:
  Bench(uint64_t seed, bool waits, int argc, char** argv) : random_{seed * 2 + 1}, waits_(waits) {
    context_.commandArgs(argc, argv);
    context_.randReset(2);
    context_.randSeed(static_cast<int>(seed & 0x7fffffff) + 1);
    top_ = new V@NAME@{&context_};
    top_->clk = 0;
    top_->rst = 1;
    top_->s_axis_tvalid = 0;
    top_->m_axis_tready = 0;
    for (int i = 0; i < 4; i++) edge();
    top_->rst = 0;
  }
  ~Bench() {
    top_->final();
    delete top_;
  }

  // Sends frames back to back and collects as many. `broken` first sends a frame that ends too early and one that ends
  // too late, whose results must say so.
  Result run(const Codes& in, size_t frames, bool broken) {
    Result result;
    result.codes.assign(frames * kOut, kPoison);
    if (broken) {
      if (kBeats > 1) send_wrong(in, kBeats - 1);
      send_wrong(in, kBeats + 3);
      if (errors_ != damaged_) result.error = "a frame of a wrong length did not raise frame_error once";
      if (!result.error.empty()) return result;
    }
    size_t sent = 0, got = 0;
    uint64_t idle = 0;
    bool offering = false;
    const uint64_t limit = kCycles * 16 + 100000;
    for (uint64_t after = 0; after < 64;) {
      if (!offering) offering = sent < frames * kBeats && go(3);
      top_->s_axis_tvalid = offering;
      top_->s_axis_tdata = offering ? beat(in, sent) : random_.next();
      top_->s_axis_tlast = offering ? sent % kBeats == kBeats - 1 : random_.next() & 1;
      top_->m_axis_tready = go(4);
      top_->eval();
      const bool taken = offering && top_->s_axis_tready;
      const bool given = top_->m_axis_tvalid && top_->m_axis_tready;
      if (taken && sent % kBeats == 0) result.begins.push_back(total_);
      if (!receive(given, got, frames, result)) return result;
      if (given && got > 0 && got % kOut == 0) result.ends.push_back(total_);
      const size_t errors = errors_;
      edge();
      if (taken) {
        sent++;
        offering = false;
      }
      idle = taken || given ? 0 : idle + 1;
      if (idle > limit) {
        result.error = "nothing moves any more";
        return result;
      }
      if (errors_ != errors && sent > 1) {
        result.error = "a whole frame raised frame_error";
        return result;
      }
      after = got == frames * kOut ? after + 1 : 0;
    }
    if (damaged_seen_ != damaged_) result.error = "a frame of a wrong length did not raise tuser once";
    result.total = total_;
    return result;
  }

 private:
  VerilatedContext context_;
  V@NAME@* top_ = nullptr;
  Random random_;
  bool waits_;
  uint64_t total_ = 0;
  size_t errors_ = 0;        // clocks with frame_error
  size_t damaged_ = 0;       // frames of a wrong length sent
  size_t damaged_seen_ = 0;  // and received
  size_t damaged_codes_ = 0;
  bool held_ = false;
  uint32_t held_data_ = 0;
  bool held_last_ = false;

  // Whether a side moves this clock: with probability 1 - 1/n when there are waits.
  bool go(uint32_t n) { return !waits_ || random_.next() % n != 0; }

  void edge() {
    top_->clk = 0;
    top_->eval();
    top_->clk = 1;
    top_->eval();
    top_->clk = 0;
    total_++;
    errors_ += top_->frame_error;
  }

  static uint64_t beat(const Codes& in, size_t index) {
    uint64_t word = 0;
    for (size_t lane = 0; lane < kLanes; lane++)
      word |= static_cast<uint64_t>(in[index * kLanes + lane]) << (lane * kLaneBits);
    return word;
  }

  bool receive(bool given, size_t& got, size_t frames, Result& result) {
    const uint32_t data = top_->m_axis_tdata;
    const bool last = top_->m_axis_tlast;
    if (held_ && (!top_->m_axis_tvalid || data != held_data_ || last != held_last_)) {
      result.error = "a refused beat changed before it was taken";
      return false;
    }
    held_ = top_->m_axis_tvalid && !given;
    held_data_ = data;
    held_last_ = last;
    if (!given) return true;
    if (damaged_codes_ < damaged_ * kOut) {
      damaged_codes_++;
      damaged_seen_ += last && top_->m_axis_tuser;
      return true;
    }
    if (got == frames * kOut) {
      result.error = "a beat after the last frame";
      return false;
    }
    if (last != (got % kOut == kOut - 1) || top_->m_axis_tuser) {
      result.error = "tlast or tuser is wrong on beat " + std::to_string(got % kOut);
      return false;
    }
    result.codes[got++] = static_cast<uint16_t>(data);
    return true;
  }

  // Sends `beats` beats with tlast on the last one, and counts the results that come out meanwhile.
  void send_wrong(const Codes& in, size_t beats) {
    Result none;
    size_t got = 0;
    damaged_++;
    for (size_t i = 0; i < beats;) {
      top_->s_axis_tvalid = 1;
      top_->s_axis_tdata = beat(in, i % kBeats) ^ 1;
      top_->s_axis_tlast = i + 1 == beats;
      top_->m_axis_tready = 1;
      top_->eval();
      const bool taken = top_->s_axis_tready;
      receive(top_->m_axis_tvalid, got, 0, none);
      edge();
      i += taken;
    }
    top_->s_axis_tvalid = 0;
    for (int i = 0; i < 2; i++) {  // frame_error comes a clock later
      top_->m_axis_tready = 0;
      top_->eval();
      receive(false, got, 0, none);
      edge();
    }
  }
};

int verify() {
  const Codes in(kInputs, kInputs + kVectors * kIn);
  Bench bench(20240229, true, 0, nullptr);
  const Result result = bench.run(in, kVectors, true);
  if (!result.error.empty()) {
    std::printf("@NAME@: FAILED: %s\n", result.error.c_str());
    return 1;
  }
  size_t exact = 0;
  for (size_t v = 0; v < kVectors; v++) {
    size_t i = 0;
    while (i < kOut && result.codes[v * kOut + i] == kOutputs[v * kOut + i]) i++;
    exact += i == kOut;
    if (i < kOut)
      std::printf("@NAME@: vector %zu, code %zu is 0x%x, not 0x%x\n", v, i, result.codes[v * kOut + i],
                  kOutputs[v * kOut + i]);
  }
  std::printf("@NAME@: %zu of %zu vectors bit-exact, %llu cycles\n", exact, static_cast<size_t>(kVectors),
              static_cast<unsigned long long>(result.total));
  return exact == kVectors ? 0 : 1;
}

int execute(const char* in_path, const char* out_path, uint64_t seed, int argc, char** argv) {
  FILE* file = std::fopen(in_path, "rb");
  if (!file) return std::fprintf(stderr, "cannot read %s\n", in_path), 2;
  Codes in;
  for (uint8_t b[2]; std::fread(b, 1, 2, file) == 2;) in.push_back(static_cast<uint16_t>(b[0] | b[1] << 8));
  std::fclose(file);
  if (in.empty() || in.size() % kIn) return std::fprintf(stderr, "%s holds no whole frames\n", in_path), 2;
  Bench bench(seed ? seed : 1, seed != 0, argc, argv);
  const Result result = bench.run(in, in.size() / kIn, false);
  if (!result.error.empty()) return std::fprintf(stderr, "%s\n", result.error.c_str()), 1;
  FILE* out = std::fopen(out_path, "wb");
  if (!out) return std::fprintf(stderr, "cannot write %s\n", out_path), 2;
  for (uint16_t code : result.codes) {
    const uint8_t b[2] = {static_cast<uint8_t>(code), static_cast<uint8_t>(code >> 8)};
    std::fwrite(b, 1, 2, out);
  }
  std::fclose(out);
  for (size_t i = 0; i < result.ends.size(); i++)
    std::printf("%llu %llu\n", static_cast<unsigned long long>(result.begins[i]),
                static_cast<unsigned long long>(result.ends[i]));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char *in = nullptr, *out = nullptr;
  uint64_t seed = 0;
  for (int i = 1; i + 1 < argc; i++) {
    if (!std::strcmp(argv[i], "--in")) in = argv[i + 1];
    if (!std::strcmp(argv[i], "--out")) out = argv[i + 1];
    if (!std::strcmp(argv[i], "--seed")) seed = std::strtoull(argv[i + 1], nullptr, 10);
  }
  return in && out ? execute(in, out, seed, argc, argv) : verify();
}
