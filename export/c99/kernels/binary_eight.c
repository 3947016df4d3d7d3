/* Bits of eight lanes that are all ones or all zeros, the first one lowest. */
static inline uint32_t NAME(uint32x4_t first, uint32x4_t second)
{
    static const uint8_t places[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x8_t lanes = vmovn_u16(vcombine_u16(vmovn_u32(first), vmovn_u32(second)));
    return vaddv_u8(vand_u8(lanes, vld1_u8(places)));
}
