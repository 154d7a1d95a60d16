/* What the compiler and the rest expect of a C library. */
#include "sys.h"

void *memcpy(void *to, const void *from, u64 n) {
  u8 *t = to;
  const u8 *f = from;
#if defined(__x86_64__)
  __asm__ volatile("rep movsb" : "+D"(t), "+S"(f), "+c"(n) : : "memory");
#else
  for (; n >= 8; n -= 8, t += 8, f += 8) *(u64 __attribute__((may_alias, aligned(1))) *)t = *(const u64 __attribute__((may_alias, aligned(1))) *)f;
  while (n--) *t++ = *f++;
#endif
  return to;
}

void *memmove(void *to, const void *from, u64 n) {
  u8 *t = to;
  const u8 *f = from;
  if (t <= f || t >= f + n) return memcpy(to, from, n);
  while (n--) t[n] = f[n];
  return to;
}

void *memset(void *to, int value, u64 n) {
  volatile u8 *t = to;
  while (n--) *t++ = value;
  return to;
}

u64 text_length(const char *text) {
  u64 n = 0;
  while (text[n]) n++;
  return n;
}

int text_equal(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

int text_begins(const char *text, const char *head) {
  while (*head && *text == *head) text++, head++;
  return *head == 0;
}

char *text_append(char *at, const char *text) {
  while ((*at = *text++)) at++;
  return at;
}

char *text_number(char *at, u64 value) {
  char digits[21];
  int n = 0;
  do digits[n++] = '0' + value % 10;
  while (value /= 10);
  while (n > 0) *at++ = digits[--n];
  *at = 0;
  return at;
}
