// Status registers behind an AXI4-Lite port. They watch the streams and touch nothing; counters wrap.
module @MODULE@ (
    input wire clk,
    input wire rst,
    input wire [@ADDRESS@-1:0] awaddr,
    input wire [2:0] awprot,
    input wire awvalid,
    output wire awready,
    input wire [31:0] wdata,
    input wire [3:0] wstrb,
    input wire wvalid,
    output wire wready,
    output wire [1:0] bresp,
    output reg bvalid,
    input wire bready,
    input wire [@ADDRESS@-1:0] araddr,
    input wire [2:0] arprot,
    input wire arvalid,
    output wire arready,
    output reg [31:0] rdata,
    output wire [1:0] rresp,
    output reg rvalid,
    input wire rready,
    input wire s_valid,
    input wire s_ready,
    input wire s_last,
    input wire error,
    input wire [@COUNT@-1:0] m_valid,
    input wire [@COUNT@-1:0] m_ready,
    input wire m_last
);
  localparam [31:0] DIGEST = 32'h@DIGEST@;
  reg [31:0] frames_in, frames_out, frame_errors, input_waits, input_gaps, busy_high;
  reg [63:0] busy;
  reg [15:0] under;  // frames that began and did not leave
  reg fresh;         // the next beat begins a frame
  wire begun = s_valid && s_ready && fresh;
  wire left = m_valid[0] && m_ready[0] && m_last;

  // Addresses and data of a write are taken together.
  wire write = awvalid && wvalid && (!bvalid || bready);
  wire clear = write && awaddr[@ADDRESS@-1:2] == @CONTROL@ && wstrb[0] && wdata[0];
  wire read = arvalid && arready;
  assign awready = write;
  assign wready = write;
  assign arready = !rvalid || rready;
  assign bresp = 2'b00;
  assign rresp = 2'b00;

  wire [@COUNT@*32-1:0] output_waits;
  genvar k;
  generate
    for (k = 0; k < @COUNT@; k = k + 1) begin : outputs
      reg [31:0] waits;
      assign output_waits[k*32 +: 32] = waits;
      always @(posedge clk)
        if (rst || clear) waits <= 32'd0;
        else if (m_valid[k] && !m_ready[k]) waits <= waits + 1'b1;
    end
  endgenerate

  reg [31:0] register;
  always @(*)
    case (araddr[@ADDRESS@-1:2])
@READS@
      default: register = 32'd0;
    endcase

  always @(posedge clk) if (read) rdata <= register;
  always @(posedge clk)
    if (rst) begin
      bvalid <= 1'b0;
      rvalid <= 1'b0;
      fresh <= 1'b1;
      under <= 16'd0;
      busy_high <= 32'd0;
    end else begin
      bvalid <= write || (bvalid && !bready);
      rvalid <= read || (rvalid && !rready);
      if (s_valid && s_ready) fresh <= s_last;
      under <= under + {15'd0, begun} - {15'd0, left};
      if (read && araddr[@ADDRESS@-1:2] == @BUSY@) busy_high <= busy[63:32];
    end
  always @(posedge clk)
    if (rst || clear) begin
      frames_in <= 32'd0;
      frames_out <= 32'd0;
      frame_errors <= 32'd0;
      input_waits <= 32'd0;
      input_gaps <= 32'd0;
      busy <= 64'd0;
    end else begin
      frames_in <= frames_in + {31'd0, s_valid && s_ready && s_last};
      frames_out <= frames_out + {31'd0, left};
      frame_errors <= frame_errors + {31'd0, error};
      input_waits <= input_waits + {31'd0, s_valid && !s_ready};
      input_gaps <= input_gaps + {31'd0, |under && s_ready && !s_valid};
      busy <= busy + {63'd0, |under};
    end
  wire unused = &{1'b0, awprot, arprot, awaddr[1:0], araddr[1:0], wdata[31:1], wstrb[3:1]};
endmodule
