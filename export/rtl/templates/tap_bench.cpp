#ifdef EDGEMILL_TAP
  FILE* tap_ = nullptr;

  // Writes what the core writes to its memory: step and code, and the address.
  void write_tap() {
    if (!tap_ && *context_.commandArgsPlusMatch("tap")) tap_ = std::fopen("taps.bin", "wb");
    if (!tap_ || !top_->tap_valid || top_->rst) return;
    const uint32_t record[2] = {static_cast<uint32_t>(top_->tap_step) << 16 | top_->tap_code, top_->tap_address};
    std::fwrite(record, sizeof record, 1, tap_);
  }
#endif

