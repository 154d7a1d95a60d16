/*
 * The agent inside a sandbox: the container's first process. It speaks frames on its standard input and output (the format and the conversation are
 * described in ../wire.ts), starts processes, moves bytes and touches files. One thread, one loop, no allocation but for the buffers below.
 *
 * It has no secrets and no rights that its guest lacks; what it refuses, it refuses for order's sake. Its memory counts towards the sandbox's own.
 */
#ifndef AGENT_H
#define AGENT_H

#include "sys.h"

#define VERSION 2
#define HEADER 12
/* Body of one frame, both ways */
#define MAX_BODY (256 << 10)
#define PIECE (64 << 10)
/* Bytes the daemon may send on a channel before it is given more */
#define WINDOW (256 << 10)
#define MAX_CHANNELS 256
#define MAX_JOBS 64
/* Output kept of a background process, with 3 bytes for each piece */
#define KEPT (256 << 10)
#define TOKEN 32
#define MAX_PATH 4096
#define PATH_DEPTH 256
/* In the environment of each command, followed by its channel: how orphans are recognised */
#define MARK "MANYHANDS_PROCESS="

enum { EXEC = 1, DATA, CREDIT, SIGNAL, RESIZE, TREE, CLOSE, FILE_OP, DIAL, JOBS, ATTACH, KILL_ALL, PING, MOVE, LISTEN, ACCEPT };
enum { HELLO = 64, OUT, OPENED, END, GIVE, PONG };
enum { BY_EXIT, BY_SIGNAL, DONE, FAILED, FULL, NOT_STARTED };
enum { OP_READ = 1, OP_WRITE, OP_STAT, OP_LIST, OP_MKDIR, OP_MOVE, OP_REMOVE, OP_REMOVE_ALL, OP_WATCH };
/* exec */
enum { WITH_PTY = 1, IN_BACKGROUND = 2, TAKES_INPUT = 4 };
/* fd numbers of OUT: 1 and 2 as usual, or the end of what can be read */
enum { OUT_OVER = 128 };

enum kind { FREE, PROCESS, READER, FILE_IN, FILE_OUT, FOLDER, WATCH, SOCKET, WORKER, LISTENER };

/* What a background process wrote, as pieces of {u8 fd, u16 length, bytes} in a ring. Offsets only grow. */
struct kept {
  u8 *ring;
  u64 first, next;
  u64 total;
};

struct channel {
  u32 id;
  u8 kind;
  u8 exited, pty, background, chosen, connecting, second_try;
  /* the daemon will send nothing more; what is buffered is still written */
  u8 input_over;
  u8 output_over[2];
  int pid, status;
  int in, out[2];
  /* bytes we may still send */
  u32 credit;
  /* bytes consumed that the daemon was not given back yet */
  u32 owed;
  /* bytes from the daemon that `in` did not take yet */
  u8 *buffer;
  u32 start, length;
  /* after the process ended: bytes that were in the pipes then, and are still to be sent */
  u32 rest[2];
  /* PROCESS in the background: what it wrote; READER: which job, and how far it got; SOCKET without a connection yet: the LISTENER that gives it one */
  struct kept kept;
  struct channel *job;
  u64 at;
  char name[65];
  /* FILE_OUT */
  int folder;
  u32 mode;
  char temporary[48];
  char target[256];
  u16 port;
};

extern struct channel channels[MAX_CHANNELS];
extern u32 last_id;
extern char **base_env;
/* One slot for each channel, shared with children: why the program could not be started */
extern volatile int *start_errors;

/* wire.c */
void wire_start(const char *token);
/* What to wait for: the stream frames come on, and standard input when that is another (else NOFD) */
int wire_fd(void);
int wire_standby(void);
/* Reads what came; 0 when the agent should end */
int wire_read(void);
/* Something came on standard input meanwhile: the conversation begins anew there */
void wire_fall_back(void);
/* Goes on over a socket in the file system. A negative errno when it cannot be reached */
int wire_move(const char *path);
void wire_flush(void);
/* Room for a frame's body; `wire_commit` sends what was put there */
u8 *wire_room(u32 most);
void wire_commit(u8 type, u8 flag, u32 id, u32 length);
void send_number(u8 type, u8 flag, u32 id, u32 number);
void send_stat(u8 type, u32 id, const struct statx *found);
void hello(void);
u16 get16(const u8 *at);
u32 get32(const u8 *at);
u64 get64(const u8 *at);
void put16(u8 *at, u16 value);
void put32(u8 *at, u32 value);
void put64(u8 *at, u64 value);
/* The next text of a body, or 0 when it does not end there */
const char *take_text(const u8 **at, const u8 *end);

/* channel.c */
struct channel *find_channel(u32 id);
struct channel *new_channel(u32 id, u8 kind);
void end_channel(struct channel *channel, u8 how, u32 number);
void release(struct channel *channel);
/* The process behind a channel: itself, or the job it reads */
struct channel *process_of(struct channel *channel);
/* From the daemon, for the channel's input */
void take_data(struct channel *channel, const u8 *data, u32 length, int over);
/* What can be moved is moved */
void pump_input(struct channel *channel);
void pump_output(struct channel *channel, int which);
void close_input(struct channel *channel);
void forget_connection(void);

/* process.c */
void exec_process(u32 id, u8 flags, const u8 *at, const u8 *end);
void reap(void);
void finish_process(struct channel *channel);
void signal_tree(struct channel *channel, int signal);
void kill_chosen(void);
void kill_all(void);
void list_jobs(u32 id);
void attach_job(u32 id, const u8 *at, const u8 *end);
int job_read(struct channel *job, int which);
void pump_reader(struct channel *reader);

/* files.c */
void file_op(u32 id, u8 flags, const u8 *at, const u8 *end);
void commit_file(struct channel *channel);
void abandon_file(struct channel *channel);
void pump_folder(struct channel *channel);
void pump_watch(struct channel *channel);
/* walk.c: the folder that holds the last part of a path, without following any link; a negative errno */
int walk(const char *path, int make, char *last);
int read_folder(int at, const char *name);
int remove_tree(int folder, const char *name, int depth);

/* socket.c */
void dial(u32 id, const u8 *at, const u8 *end);
void listen_on(u32 id, const u8 *at, const u8 *end);
void await_connection(u32 id, const u8 *at, const u8 *end);
/* The channel that the next connection is for, or 0 */
struct channel *next_waiting(const struct channel *listener);
void take_connection(struct channel *listener);
void end_waiting(const struct channel *listener);
void socket_ready(struct channel *channel);
void socket_check_over(struct channel *channel);

#endif
