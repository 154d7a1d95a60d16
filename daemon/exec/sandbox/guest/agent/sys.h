/*
 * System calls without a C library, so that the agent is one small static file that runs in any image. Only calls that both x86-64 and arm64 have:
 * the arguments and the layout of what they fill in are then the same. Every call gives a negative errno on failure.
 */
#ifndef SYS_H
#define SYS_H

#include <asm/errno.h>
#include <asm/ioctls.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;

#if defined(__x86_64__)
static inline i64 sys6(i64 n, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f) {
  i64 result;
  register i64 r10 __asm__("r10") = d;
  register i64 r8 __asm__("r8") = e;
  register i64 r9 __asm__("r9") = f;
  __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
static inline i64 sys6(i64 n, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f) {
  register i64 x8 __asm__("x8") = n;
  register i64 x0 __asm__("x0") = a;
  register i64 x1 __asm__("x1") = b;
  register i64 x2 __asm__("x2") = c;
  register i64 x3 __asm__("x3") = d;
  register i64 x4 __asm__("x4") = e;
  register i64 x5 __asm__("x5") = f;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
#else
#error "no system calls for this processor"
#endif

#define SYS0(n) sys6(n, 0, 0, 0, 0, 0, 0)
#define SYS1(n, a) sys6(n, (i64)(a), 0, 0, 0, 0, 0)
#define SYS2(n, a, b) sys6(n, (i64)(a), (i64)(b), 0, 0, 0, 0)
#define SYS3(n, a, b, c) sys6(n, (i64)(a), (i64)(b), (i64)(c), 0, 0, 0)
#define SYS4(n, a, b, c, d) sys6(n, (i64)(a), (i64)(b), (i64)(c), (i64)(d), 0, 0)
#define SYS5(n, a, b, c, d, e) sys6(n, (i64)(a), (i64)(b), (i64)(c), (i64)(d), (i64)(e), 0)
#define SYS6(n, a, b, c, d, e, f) sys6(n, (i64)(a), (i64)(b), (i64)(c), (i64)(d), (i64)(e), (i64)(f))

#define AT_CWD (-100)
#define NOFD (-1)

static inline i64 sys_read(int fd, void *to, u64 n) { return SYS3(__NR_read, fd, to, n); }
static inline i64 sys_write(int fd, const void *from, u64 n) { return SYS3(__NR_write, fd, from, n); }
static inline i64 sys_openat(int at, const char *path, int flags, int mode) {
  return SYS4(__NR_openat, at, path, flags | O_CLOEXEC, mode);
}
static inline i64 sys_close(int fd) { return SYS1(__NR_close, fd); }
static inline i64 sys_fcntl(int fd, int op, i64 arg) { return SYS3(__NR_fcntl, fd, op, arg); }
static inline i64 sys_ioctl(int fd, u64 op, void *arg) { return SYS3(__NR_ioctl, fd, op, arg); }
static inline i64 sys_pipe(int *fds) { return SYS2(__NR_pipe2, fds, O_CLOEXEC); }
static inline i64 sys_dup3(int from, int to) { return SYS3(__NR_dup3, from, to, 0); }
static inline i64 sys_fork(void) { return SYS5(__NR_clone, SIGCHLD, 0, 0, 0, 0); }
static inline i64 sys_getpid(void) { return SYS0(__NR_getpid); }
static inline i64 sys_kill(int pid, int sig) { return SYS2(__NR_kill, pid, sig); }
static inline i64 sys_statx(int at, const char *path, struct statx *into) {
  return SYS5(__NR_statx, at, path, 0x100 /* AT_SYMLINK_NOFOLLOW */ | 0x1000 /* AT_EMPTY_PATH */, STATX_BASIC_STATS, into);
}
__attribute__((noreturn)) static inline void sys_exit(int code) {
  for (;;) SYS1(__NR_exit_group, code);
}
static inline void *sys_map(u64 bytes, int shared) {
  i64 at = SYS6(__NR_mmap, 0, bytes, 3 /* read, write */, 0x20 | (shared ? 1 : 2), -1, 0);
  return at < 0 && at > -4096 ? (void *)0 : (void *)at;
}
static inline void sys_unmap(void *at, u64 bytes) { SYS2(__NR_munmap, at, bytes); }

static inline void set_nonblocking(int fd) { sys_fcntl(fd, F_SETFL, sys_fcntl(fd, F_GETFL, 0) | O_NONBLOCK); }

void *memcpy(void *to, const void *from, u64 n);
void *memmove(void *to, const void *from, u64 n);
void *memset(void *to, int value, u64 n);
u64 text_length(const char *text);
int text_equal(const char *a, const char *b);
/* Whether `text` begins with `head` */
int text_begins(const char *text, const char *head);
/* Writes the number and a final 0; gives where the 0 stands */
char *text_number(char *at, u64 value);
char *text_append(char *at, const char *text);

#endif
