/* Frames: bytes from the daemon are cut into them, frames to the daemon are gathered and written once a turn. */
#include "agent.h"

static u8 input[2 * (MAX_BODY + HEADER)];
static u32 input_length, scanned;
static u8 output[(MAX_BODY + HEADER) + (PIECE + HEADER)];
static u32 output_length;
static char token[TOKEN];
static u8 skip[256];
/* Nothing is sent or believed before the daemon's token came */
static int talking;
static int from = 0, to = 1;

void dispatch(u8 type, u8 flag, u32 id, const u8 *body, u32 length);

void wire_start(const char *text) {
  memcpy(token, text, TOKEN);
  memset(skip, TOKEN, sizeof skip);
  for (int at = 0; at < TOKEN - 1; at++) skip[(u8)token[at]] = TOKEN - 1 - at;
}

u16 get16(const u8 *at) { return at[0] | at[1] << 8; }
u32 get32(const u8 *at) { return get16(at) | (u32)get16(at + 2) << 16; }
u64 get64(const u8 *at) { return get32(at) | (u64)get32(at + 4) << 32; }
void put16(u8 *at, u16 value) { at[0] = value, at[1] = value >> 8; }
void put32(u8 *at, u32 value) { put16(at, value), put16(at + 2, value >> 16); }
void put64(u8 *at, u64 value) { put32(at, value), put32(at + 4, value >> 32); }

const char *take_text(const u8 **at, const u8 *end) {
  const char *text = (const char *)*at;
  for (const u8 *here = *at; here < end; here++)
    if (*here == 0) {
      *at = here + 1;
      return text;
    }
  return 0;
}

void wire_flush(void) {
  u32 at = 0;
  while (at < output_length) {
    i64 n = sys_write(to, output + at, output_length - at);
    if (n > 0) {
      at += n;
    } else if (n == -EAGAIN) {
      struct pollfd wait = {.fd = to, .events = POLLOUT};
      SYS5(__NR_ppoll, &wait, 1, 0, 0, 0);
    } else if (n != -EINTR) {
      break;
    }
  }
  output_length = 0;
}

u8 *wire_room(u32 most) {
  if (output_length + HEADER + most > sizeof output) wire_flush();
  return output + output_length + HEADER;
}

void wire_commit(u8 type, u8 flag, u32 id, u32 length) {
  if (!talking) return;
  u8 *at = output + output_length;
  put32(at, length);
  put32(at + 4, id);
  at[8] = type, at[9] = flag, at[10] = at[11] = 0;
  output_length += HEADER + length;
}

void send_number(u8 type, u8 flag, u32 id, u32 number) {
  put32(wire_room(4), number);
  wire_commit(type, flag, id, 4);
}

void hello(void) {
  u8 *at = wire_room(TOKEN + 16);
  /* the token goes first, outside any frame: the daemon drops what is left of an earlier conversation */
  memcpy(at - HEADER, token, TOKEN);
  output_length += TOKEN;
  at += TOKEN;
  put16(at, VERSION);
  put16(at + 2, MAX_CHANNELS);
  put32(at + 4, WINDOW);
  put32(at + 8, last_id);
  put32(at + 12, sys_getpid());
  talking = 1;
  wire_commit(HELLO, 0, 0, 16);
}

/* Horspool's search. Gives where the token ends, or 0. */
static u32 after_token(u32 from) {
  u32 at = from;
  while (at + TOKEN <= input_length) {
    u32 same = TOKEN;
    while (same > 0 && input[at + same - 1] == (u8)token[same - 1]) same--;
    if (same == 0) return at + TOKEN;
    at += skip[input[at + TOKEN - 1]];
  }
  return 0;
}

static void drop(u32 n) {
  memmove(input, input + n, input_length - n);
  input_length -= n;
  scanned = scanned > n ? scanned - n : 0;
}

/* The last token in what came begins a conversation: an earlier one is over, wherever it was. */
static void look_for_token(void) {
  u32 found = 0;
  for (;;) {
    u32 next = after_token(found > scanned ? found : scanned);
    if (next == 0) break;
    found = next;
  }
  scanned = input_length >= TOKEN ? input_length - (TOKEN - 1) : 0;
  if (found > 0) {
    if (scanned < found) scanned = found;
    drop(found);
    forget_connection();
    output_length = 0;
    hello();
  } else if (!talking) {
    drop(scanned);
  }
}

int wire_fd(void) { return from; }
int wire_standby(void) { return from == 0 ? NOFD : 0; }

static void begin_on(int in, int out) {
  from = in;
  to = out;
  talking = 0;
  input_length = output_length = scanned = 0;
}

void wire_fall_back(void) {
  if (from == 0) return;
  sys_close(from);
  begin_on(0, 1);
  forget_connection();
}

int wire_move(const char *path) {
  u8 address[110];
  u64 length = text_length(path);
  if (from != 0 || length == 0 || length > 107) return -EINVAL;
  int fd = SYS3(__NR_socket, 1 /* AF_UNIX */, 1 | O_CLOEXEC, 0);
  if (fd < 0) return fd;
  put16(address, 1);
  memcpy(address + 2, path, length + 1);
  i64 failed = SYS3(__NR_connect, fd, address, 3 + length);
  if (failed != 0) {
    sys_close(fd);
    return failed;
  }
  int bytes = 1 << 20;
  SYS5(__NR_setsockopt, fd, 1 /* SOL_SOCKET */, 7 /* SO_SNDBUF */, &bytes, sizeof bytes);
  wire_flush();
  begin_on(fd, fd);
  return 0;
}

int wire_read(void) {
  i64 n = sys_read(from, input + input_length, sizeof input - input_length);
  if (n == -EAGAIN || n == -EINTR) return 1;
  if (n <= 0 && from != 0) {
    wire_fall_back();
    return 1;
  }
  if (n <= 0) return 0;
  input_length += n;
  look_for_token();
  u32 at = 0;
  while (talking && input_length - at >= HEADER) {
    u32 length = get32(input + at);
    if (length > MAX_BODY) return from == 0 ? 0 : (wire_fall_back(), 1);
    if (input_length - at - HEADER < length) break;
    dispatch(input[at + 8], input[at + 9], get32(input + at + 4), input + at + HEADER, length);
    /* it moved: what came here is over */
    if (!talking) return 1;
    at += HEADER + length;
  }
  if (at > 0) drop(at);
  return 1;
}
