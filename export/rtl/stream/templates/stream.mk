# The streaming core @NAME@: simulate it with Verilator, count its cells with yosys. Run make in this folder: the .mem
# files are found from the working directory.
#
#   make            build the bench and run the vectors, with random waits on both streams
#   make icarus     the same vectors in Icarus Verilog, whose registers start unknown: fails when an unknown bit comes out;
#                   slow, so only the first FRAMES of them
#   make cocotb     the same in cocotb with Icarus (pip install cocotb)
#   make lint       Verilator's lint
#   make synth      yosys cell counts; another family for example with SYNTH="synth_xilinx -family xc7 -nowidelut"
NAME = @NAME@
SYNTH = synth_ecp5 -abc9 -nowidelut
VERILATOR = verilator
YOSYS = yosys
IVERILOG = iverilog
VVP = vvp
PYTHON = python3
FRAMES = 2
BUILD = build
# Only the code of the model needs the compiler's attention.
OPTIMISE = -MAKEFLAGS "OPT_FAST=-O2 OPT_SLOW=-O0 OPT_GLOBAL=-O0"

run: $(BUILD)/$(NAME)_tb
	./$(BUILD)/$(NAME)_tb

$(BUILD)/$(NAME)_tb: $(NAME).v $(NAME)_tb.cpp $(NAME)_vectors.h
	$(VERILATOR) --cc --exe --build -O3 -CFLAGS -I.. $(OPTIMISE) --x-assign unique --x-initial unique \
	  --Mdir $(BUILD) --top-module $(NAME) -o $(NAME)_tb $(NAME).v $(NAME)_tb.cpp

icarus: $(BUILD)/$(NAME)_icarus
	$(VVP) -N $(BUILD)/$(NAME)_icarus +frames=$(FRAMES)

$(BUILD)/$(NAME)_icarus: $(NAME).v $(NAME)_icarus_tb.v
	mkdir -p $(BUILD)
	$(IVERILOG) -g2012 -o $@ -s $(NAME)_icarus_tb $(NAME)_icarus_tb.v $(NAME).v

cocotb:
	FRAMES=$(FRAMES) $(PYTHON) $(NAME)_cocotb.py

lint:
	$(VERILATOR) --lint-only -Wall -Wno-DECLFILENAME -Wno-UNUSEDSIGNAL --top-module $(NAME) $(NAME).v

synth: $(NAME).v
	$(YOSYS) -q -p "read_verilog $(NAME).v; $(SYNTH) -top $(NAME); tee -o $(NAME).stat stat"
	cat $(NAME).stat

clean:
	rm -rf $(BUILD) $(NAME).stat

.PHONY: run icarus cocotb lint synth clean
