      if (@PORT@_tvalid === 1'bx) fail("@WHICH@an unknown ready, valid or error");
      if (held[@K@] && (!@PORT@_tvalid || @PORT@_tdata !== held_data_@K@ || @PORT@_tlast !== held_last[@K@]))
        fail("@WHICH@a refused beat changed");
      held[@K@] = @PORT@_tvalid && !ready[@K@];
      held_data_@K@ = @PORT@_tdata;
      held_last[@K@] = @PORT@_tlast;
      if (@PORT@_tvalid && (^{@PORT@_tdata, @PORT@_tlast, @PORT@_tuser}) === 1'bx) fail("@WHICH@an unknown bit came out");
      if (@PORT@_tvalid && ready[@K@]) begin
        given = 1'b1;
        if (got[@K@] == frames * BEATS_@K@) fail("@WHICH@a beat after the last frame");
        if (@PORT@_tlast != (got[@K@] % BEATS_@K@ == BEATS_@K@ - 1) || @PORT@_tuser) fail("@WHICH@tlast or tuser is wrong");
        if (@PORT@_tdata !== words_@K@[got[@K@]]) begin
          wrong = wrong + 1;
          $display("@NAME@: @WHICH@frame %0d, code %0d is %h, not %h", got[@K@] / BEATS_@K@, got[@K@] % BEATS_@K@,
                   @PORT@_tdata, words_@K@[got[@K@]]);
        end
        got[@K@] = got[@K@] + 1;
        received = received + 1;
      end
      expected = expected + frames * BEATS_@K@;
