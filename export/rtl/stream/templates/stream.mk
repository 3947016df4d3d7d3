# The streaming core @NAME@: simulate it with Verilator, count its cells with yosys. Run make in this folder: the .mem
# files are found from the working directory.
#
#   make            build the bench and run the vectors, with random waits on both streams
#   make lint       Verilator's lint
#   make synth      yosys cell counts; another family for example with SYNTH="synth_xilinx -family xc7 -nowidelut"
NAME = @NAME@
SYNTH = synth_ecp5 -abc9 -nowidelut
VERILATOR = verilator
YOSYS = yosys
BUILD = build
# Only the code of the model needs the compiler's attention.
OPTIMISE = -MAKEFLAGS "OPT_FAST=-O2 OPT_SLOW=-O0 OPT_GLOBAL=-O0"

run: $(BUILD)/$(NAME)_tb
	./$(BUILD)/$(NAME)_tb

$(BUILD)/$(NAME)_tb: $(NAME).v $(NAME)_tb.cpp $(NAME)_vectors.h
	$(VERILATOR) --cc --exe --build -O3 -CFLAGS -I.. $(OPTIMISE) --x-assign unique --x-initial unique \
	  --Mdir $(BUILD) --top-module $(NAME) -o $(NAME)_tb $(NAME).v $(NAME)_tb.cpp

lint:
	$(VERILATOR) --lint-only -Wall -Wno-DECLFILENAME -Wno-UNUSEDSIGNAL --top-module $(NAME) $(NAME).v

synth: $(NAME).v
	$(YOSYS) -q -p "read_verilog $(NAME).v; $(SYNTH) -top $(NAME); tee -o $(NAME).stat stat"
	cat $(NAME).stat

clean:
	rm -rf $(BUILD) $(NAME).stat

.PHONY: run lint synth clean
