  // The status registers, read at random all the time: what each must read is counted here, from what the ports show.
  struct Counts {
    uint64_t frames_in = 0, frames_out = 0, errors = 0, busy = 0, input_waits = 0, input_gaps = 0;
    std::array<uint64_t, kStreams.size()> output_waits{};
  };
  static constexpr size_t kControl = 2, kFirstWaits = 10, kRegisters = kFirstWaits + kStreams.size();
  Counts counts_;
  Flags ready_{};
  uint64_t under_ = 0;
  bool fresh_ = true, asking_ = false, clearing_ = false;
  size_t asked_ = 0;
  uint32_t expected_ = 0, high_ = 0;
  std::array<bool, kRegisters> answered_{};
  std::string wrong_;

  uint32_t value(size_t index) const {
    const uint64_t values[kFirstWaits] = {
        @IDENTITY@,         @DIGEST@,      under_ != 0, counts_.frames_in,   counts_.frames_out,
        counts_.errors, counts_.busy, high_,       counts_.input_waits, counts_.input_gaps};
    return static_cast<uint32_t>(index < kFirstWaits ? values[index] : counts_.output_waits[index - kFirstWaits]);
  }

  void drive_registers() {
    if (!asking_ && random_.next() % 8 == 0) {
      asking_ = true;
      asked_ = random_.next() % kRegisters;
    }
    top_->s_axil_arvalid = asking_ && !top_->rst;
    top_->s_axil_araddr = static_cast<uint8_t>(4 * asked_);
    top_->s_axil_rready = random_.next() & 1;
    top_->s_axil_awvalid = top_->s_axil_wvalid = clearing_;
    top_->s_axil_awaddr = 4 * kControl;
    top_->s_axil_wdata = 1;
    top_->s_axil_wstrb = 15;
    top_->s_axil_bready = 1;
  }

  void watch_registers() {
    if (top_->rst) return;
    look();
    if (top_->s_axil_rvalid && top_->s_axil_rready) {
      if (top_->s_axil_rdata != expected_ || top_->s_axil_rresp)
        wrong_ = "a status register read " + std::to_string(top_->s_axil_rdata) + ", not " + std::to_string(expected_);
    }
    if (asking_ && top_->s_axil_arready) {
      expected_ = value(asked_);
      answered_[asked_] = true;
      asking_ = false;
      if (asked_ == kControl + 4) high_ = static_cast<uint32_t>(counts_.busy >> 32);
    }
    const bool taken = top_->s_axis_tvalid && top_->s_axis_tready;
    const bool left = seen_[0].valid && ready_[0] && seen_[0].last;
    if (clearing_ && top_->s_axil_awready) {
      counts_ = Counts{};
      clearing_ = false;
    } else {
      counts_.frames_in += taken && top_->s_axis_tlast;
      counts_.frames_out += left;
      counts_.errors += top_->frame_error;
      counts_.busy += under_ != 0;
      counts_.input_waits += top_->s_axis_tvalid && !top_->s_axis_tready;
      counts_.input_gaps += under_ && !top_->s_axis_tvalid && top_->s_axis_tready;
      for (size_t k = 0; k < kStreams.size(); k++) counts_.output_waits[k] += seen_[k].valid && !ready_[k];
    }
    under_ += (taken && fresh_) - left;
    if (taken) fresh_ = top_->s_axis_tlast;
  }

  // Reads every register while nothing moves, before and after the counters are cleared.
  std::string check_registers() {
    if (!counts_.frames_in || counts_.frames_in != counts_.frames_out) return "frames came in that did not leave";
    for (int cleared = 0; cleared < 2; cleared++) {
      answered_ = {};
      for (size_t i = 0, all = 0; all < kRegisters && i < 100000; i++) {
        edge();
        all = 0;
        for (bool answered : answered_) all += answered;
      }
      for (int i = 0; i < 64; i++) edge();
      for (bool answered : answered_)
        if (!answered) return "a status register does not answer";
      clearing_ = !cleared;
    }
    return wrong_;
  }

