// Bench of the core @NAME@ for Verilator: plain C++, no framework.
//
//   @NAME@_tb                                   the vectors of @NAME@_vectors.h, with random waits on both streams
//   @NAME@_tb --in F --out F [--tap F] [--seed N]  other frames: 16-bit little-endian codes; no waits without --seed
//
// It fails on a wrong code, a wrong tlast, a beat that changes or disappears while it is refused, a beat nobody
// expects, a frame that never ends, and a broken frame that is not reported. Memories and registers start with random
// contents, and the first frame is followed by others, so nothing stale can pass for a result.
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
  std::vector<uint64_t> cycles;  // of each frame, first beat in to last beat out
  uint64_t total = 0;
  std::string error;
};

class Bench {
 public:
  Bench(uint64_t seed, bool waits, FILE* tap) : random_{seed * 2 + 1}, waits_(waits), tap_(tap) {
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

  // Sends frames back to back and collects as many. `broken` first sends frames that end too early and too late.
  Result run(const Codes& in, size_t frames, bool broken) {
    Result result;
    result.codes.assign(frames * kOut, kPoison);
    if (broken && (send_wrong(in, kIn + 3) != 1 || (kIn > 1 && send_wrong(in, kIn - 1) != 1))) {
      result.error = "a frame of a wrong length did not raise frame_error once";
      return result;
    }
    size_t sent = 0, got = 0;
    uint64_t idle = 0, begin = 0;
    bool offering = false;
    const uint64_t limit = kCycles * 16 + 100000;
    for (uint64_t after = 0; after < 64;) {
      if (!offering) offering = sent < frames * kIn && go(3);
      top_->s_axis_tvalid = offering;
      top_->s_axis_tdata = offering ? in[sent] : random_.next();
      top_->s_axis_tlast = offering ? sent % kIn == kIn - 1 : random_.next() & 1;
      top_->m_axis_tready = go(4);
      top_->eval();
      const bool taken = offering && top_->s_axis_tready;
      const bool given = top_->m_axis_tvalid && top_->m_axis_tready;
      if (taken && sent % kIn == 0) begin = total_;
      if (!receive(given, got, frames, result)) return result;
      if (given && got % kOut == 0) result.cycles.push_back(total_ - begin + 1);
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
      if (top_->frame_error) {
        result.error = "a whole frame raised frame_error";
        return result;
      }
      after = got == frames * kOut ? after + 1 : 0;
    }
    result.total = total_;
    return result;
  }

 private:
  VerilatedContext context_;
  V@NAME@* top_ = nullptr;
  Random random_;
  bool waits_;
  FILE* tap_;
  uint64_t total_ = 0;
  bool held_ = false;
  uint32_t held_data_ = 0;
  bool held_last_ = false;

  // Whether a side moves this clock: with probability 1 - 1/n when there are waits.
  bool go(uint32_t n) { return !waits_ || random_.next() % n != 0; }

  void edge() {
    top_->clk = 0;
    top_->eval();
#ifdef EDGEMILL_TAP
    if (tap_ && top_->tap_valid && !top_->rst) {
      const uint32_t record[2] = {static_cast<uint32_t>(top_->tap_step) << 16 | top_->tap_code, top_->tap_address};
      std::fwrite(record, sizeof record, 1, tap_);
    }
#endif
    top_->clk = 1;
    top_->eval();
    top_->clk = 0;
    total_++;
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
    if (got == frames * kOut) {
      result.error = "a beat after the last frame";
      return false;
    }
    if (last != (got % kOut == kOut - 1)) {
      result.error = "tlast is wrong on beat " + std::to_string(got % kOut);
      return false;
    }
    result.codes[got++] = static_cast<uint16_t>(data);
    return true;
  }

  // Sends `beats` beats with tlast on the last one; returns in how many clocks frame_error was high.
  int send_wrong(const Codes& in, size_t beats) {
    int reported = 0;
    for (size_t i = 0; i <= beats; i++) {
      top_->s_axis_tvalid = i < beats;
      top_->s_axis_tdata = in[i % kIn] ^ 1;
      top_->s_axis_tlast = i + 1 == beats;
      edge();
      reported += top_->frame_error;
    }
    return reported;
  }
};

int verify() {
  const Codes in(kInputs, kInputs + kVectors * kIn);
  Bench bench(20240229, true, nullptr);
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

int execute(const char* in_path, const char* out_path, const char* tap_path, uint64_t seed) {
  FILE* file = std::fopen(in_path, "rb");
  if (!file) return std::fprintf(stderr, "cannot read %s\n", in_path), 2;
  Codes in;
  for (uint8_t b[2]; std::fread(b, 1, 2, file) == 2;) in.push_back(static_cast<uint16_t>(b[0] | b[1] << 8));
  std::fclose(file);
  if (in.empty() || in.size() % kIn) return std::fprintf(stderr, "%s holds no whole frames\n", in_path), 2;
  FILE* tap = tap_path ? std::fopen(tap_path, "wb") : nullptr;
  Bench bench(seed ? seed : 1, seed != 0, tap);
  const Result result = bench.run(in, in.size() / kIn, false);
  if (tap) std::fclose(tap);
  if (!result.error.empty()) return std::fprintf(stderr, "%s\n", result.error.c_str()), 1;
  FILE* out = std::fopen(out_path, "wb");
  if (!out) return std::fprintf(stderr, "cannot write %s\n", out_path), 2;
  for (uint16_t code : result.codes) {
    const uint8_t b[2] = {static_cast<uint8_t>(code), static_cast<uint8_t>(code >> 8)};
    std::fwrite(b, 1, 2, out);
  }
  std::fclose(out);
  for (uint64_t cycles : result.cycles) std::printf("%llu\n", static_cast<unsigned long long>(cycles));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char *in = nullptr, *out = nullptr, *tap = nullptr;
  uint64_t seed = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!std::strcmp(argv[i], "--in")) in = argv[i + 1];
    if (!std::strcmp(argv[i], "--out")) out = argv[i + 1];
    if (!std::strcmp(argv[i], "--tap")) tap = argv[i + 1];
    if (!std::strcmp(argv[i], "--seed")) seed = std::strtoull(argv[i + 1], nullptr, 10);
  }
#ifndef EDGEMILL_TAP
  if (tap) return std::fprintf(stderr, "--tap needs a build with EDGEMILL_TAP\n"), 2;
#endif
  return in && out ? execute(in, out, tap, seed) : verify();
}
