/* What becomes of the two addends before they are summed. */
struct addends {
    int32_t zero[2];
    int32_t left_shift;
    int32_t mantissa[2];
    int32_t exponent[2];
};
