/* Some layers hold two weights in a byte: that of an even channel in the high half, that of the next channel plus 8 in
   the low half. A byte is 16 * first + low, so sums of codes times bytes and of codes times low halves give both. */
#define NIBBLES 1
