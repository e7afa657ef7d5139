/* Runs a program and records everything that it does to the files of one folder, so that the folder can be rebuilt as a power
 * cut at any moment would leave it.
 *
 *   record OUTPUT FOLDER PROGRAM ARGUMENT...
 *
 * System calls are watched through ptrace, stopped at by a seccomp filter: the program may call the system without libc, as
 * Rust programs do, which a preloaded library would not see. x86-64 Linux only.
 *
 * One record: type u8 · time u64 (CLOCK_MONOTONIC, ns) · a u64 · b u64 · length of path u32 · length of data u32 · path · data.
 * Little-endian. Paths are relative to the folder; what happens elsewhere is not recorded. A record is written before the
 * program goes on, so a client that was answered was answered after it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/limits.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, LENGTH, ALLOCATE, SYNC_BEGIN, SYNC_END, RENAME, LINK, UNLINK, MKDIR, RMDIR };

static FILE *output;
static char folder[PATH_MAX];
static size_t folder_length;

static void fail(const char *what) {
    fprintf(stderr, "record: %s: %s\n", what, strerror(errno));
    exit(70);
}

static void put(int type, uint64_t a, uint64_t b, const char *path, const void *data, uint32_t length) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint8_t kind = (uint8_t)type;
    uint64_t time = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    uint32_t path_length = (uint32_t)strlen(path);
    fwrite(&kind, 1, 1, output);
    fwrite(&time, 8, 1, output);
    fwrite(&a, 8, 1, output);
    fwrite(&b, 8, 1, output);
    fwrite(&path_length, 4, 1, output);
    fwrite(&length, 4, 1, output);
    fwrite(path, 1, path_length, output);
    fwrite(data, 1, length, output);
    if (ferror(output)) fail("writing the record");
}

/* The path below the folder, or NULL. */
static const char *inside(const char *path) {
    if (strncmp(path, folder, folder_length) != 0) return NULL;
    if (path[folder_length] == 0) return ".";
    return path[folder_length] == '/' ? path + folder_length + 1 : NULL;
}

static const char *of_descriptor(pid_t pid, int descriptor, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/%d/fd/%d", pid, descriptor);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0) return NULL;
    buffer[length] = 0;
    if (length > 10 && strcmp(buffer + length - 10, " (deleted)") == 0) return NULL;
    return inside(buffer);
}

static int read_memory(pid_t pid, uint64_t at, void *into, size_t length) {
    struct iovec here = {into, length}, there = {(void *)at, length};
    return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)length ? 0 : -1;
}

static int read_string(pid_t pid, uint64_t at, char *into) {
    for (size_t length = 0; length < PATH_MAX - 1;) {
        /* Never across a page that may not be there. */
        size_t chunk = 4096 - (at + length) % 4096;
        if (chunk > PATH_MAX - 1 - length) chunk = PATH_MAX - 1 - length;
        if (read_memory(pid, at + length, into + length, chunk) != 0) return -1;
        if (memchr(into + length, 0, chunk)) return 0;
        length += chunk;
    }
    return -1;
}

/* The path that an argument names, absolute, then below the folder; NULL if it lies elsewhere. */
static const char *of_argument(pid_t pid, int descriptor, uint64_t at, char *buffer) {
    char given[PATH_MAX], from[PATH_MAX];
    if (read_string(pid, at, given) != 0) return NULL;
    if (given[0] == '/') {
        snprintf(buffer, PATH_MAX, "%s", given);
    } else {
        char link[64];
        if (descriptor == AT_FDCWD) snprintf(link, sizeof link, "/proc/%d/cwd", pid);
        else snprintf(link, sizeof link, "/proc/%d/fd/%d", pid, descriptor);
        ssize_t length = readlink(link, from, PATH_MAX - 1);
        if (length < 0) return NULL;
        from[length] = 0;
        if (strlen(from) + strlen(given) + 2 > PATH_MAX) return NULL;
        strcpy(buffer, from);
        strcat(buffer, "/");
        strcat(buffer, given);
    }
    return inside(buffer);
}

struct call {
    uint64_t number, arguments[6];
    int inside, pending;
};

#define VECTOR 1024
#define CALLS 65536
static struct call calls[CALLS];

static int existed(const char *path) {
    char whole[2 * PATH_MAX];
    snprintf(whole, sizeof whole, "%s/%s", folder, path);
    return access(whole, F_OK) == 0;
}

static int was_there[CALLS];

static void before(pid_t pid, struct call *call) {
    char buffer[PATH_MAX];
    const char *path;
    uint64_t *a = call->arguments;
    switch (call->number) {
        case SYS_open:
        case SYS_creat:
            path = of_argument(pid, AT_FDCWD, a[0], buffer);
            was_there[pid % CALLS] = path && existed(path);
            break;
        case SYS_openat:
        case SYS_openat2:
            path = of_argument(pid, (int)a[0], a[1], buffer);
            was_there[pid % CALLS] = path && existed(path);
            break;
        case SYS_fsync:
        case SYS_fdatasync:
            path = of_descriptor(pid, (int)a[0], buffer);
            if (path) put(SYNC_BEGIN, (uint64_t)pid, 0, path, "", 0);
            break;
        case SYS_io_uring_setup:
        case SYS_sync_file_range:
        case SYS_copy_file_range:
            fprintf(stderr, "record: system call %lu is not known to the recorder\n", (unsigned long)call->number);
            exit(70);
    }
}

static void wrote(pid_t pid, int descriptor, uint64_t position, const struct iovec *chunks, size_t count, uint64_t written) {
    char buffer[PATH_MAX];
    const char *path = of_descriptor(pid, descriptor, buffer);
    if (!path || written == 0) return;
    char *data = malloc(written);
    if (!data) fail("memory");
    uint64_t at = 0;
    for (size_t chunk = 0; chunk < count && at < written; chunk++) {
        uint64_t length = chunks[chunk].iov_len < written - at ? chunks[chunk].iov_len : written - at;
        if (read_memory(pid, (uint64_t)chunks[chunk].iov_base, data + at, length) != 0) fail("reading what was written");
        at += length;
    }
    put(WRITE, position, 0, path, data, (uint32_t)written);
    free(data);
}

static void wrote_vector(pid_t pid, int descriptor, uint64_t position, uint64_t vector, uint64_t count, uint64_t written) {
    char buffer[PATH_MAX];
    if (!of_descriptor(pid, descriptor, buffer)) return;
    struct iovec chunks[VECTOR];
    if (count > VECTOR || read_memory(pid, vector, chunks, count * sizeof *chunks) != 0) fail("reading a vector");
    wrote(pid, descriptor, position, chunks, count, written);
}

/* Where a write without a position went. */
static uint64_t position_before(pid_t pid, int descriptor, uint64_t written) {
    char name[64], line[256];
    snprintf(name, sizeof name, "/proc/%d/fdinfo/%d", pid, descriptor);
    FILE *file = fopen(name, "r");
    if (!file) return 0;
    unsigned long long position = 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "pos: %llu", &position) == 1) break;
    fclose(file);
    return position - written;
}

static void two_paths(pid_t pid, int type, int from_descriptor, uint64_t from, int to_descriptor, uint64_t to) {
    char first[PATH_MAX], second[PATH_MAX];
    const char *source = of_argument(pid, from_descriptor, from, first);
    const char *target = of_argument(pid, to_descriptor, to, second);
    if (source && target) put(type, 0, 0, source, target, (uint32_t)strlen(target));
    else if (source || target) {
        fprintf(stderr, "record: a name was moved into the folder or out of it\n");
        exit(70);
    }
}

static void after(pid_t pid, struct call *call, int64_t result) {
    char buffer[PATH_MAX];
    const char *path = NULL;
    uint64_t *a = call->arguments;
    if (call->number == SYS_fsync || call->number == SYS_fdatasync) {
        /* One that failed makes nothing durable. */
        path = of_descriptor(pid, (int)a[0], buffer);
        if (path) put(SYNC_END, (uint64_t)pid, (uint64_t)(result == 0), path, "", 0);
        return;
    }
    if (result < 0) return;
    struct iovec one;
    switch (call->number) {
        case SYS_open:
        case SYS_creat:
        case SYS_openat:
        case SYS_openat2: {
            path = of_descriptor(pid, (int)result, buffer);
            uint64_t flags = call->number == SYS_open ? a[1] : call->number == SYS_openat ? a[2] : O_CREAT | O_TRUNC;
            if (call->number == SYS_openat2 && read_memory(pid, a[2], &flags, 8) != 0) fail("reading flags");
            if (!path || (flags & O_DIRECTORY)) break;
            if ((flags & O_CREAT) && !was_there[pid % CALLS]) put(CREATE, 0, 0, path, "", 0);
            else if (flags & O_TRUNC) put(LENGTH, 0, 0, path, "", 0);
            break;
        }
        case SYS_write:
            if (of_descriptor(pid, (int)a[0], buffer)) {
                one = (struct iovec){(void *)a[1], a[2]};
                wrote(pid, (int)a[0], position_before(pid, (int)a[0], (uint64_t)result), &one, 1, (uint64_t)result);
            }
            break;
        case SYS_pwrite64:
            one = (struct iovec){(void *)a[1], a[2]};
            wrote(pid, (int)a[0], a[3], &one, 1, (uint64_t)result);
            break;
        case SYS_writev:
            if (of_descriptor(pid, (int)a[0], buffer))
                wrote_vector(pid, (int)a[0], position_before(pid, (int)a[0], (uint64_t)result), a[1], a[2], (uint64_t)result);
            break;
        case SYS_pwritev:
        case SYS_pwritev2:
            wrote_vector(pid, (int)a[0], a[3], a[1], a[2], (uint64_t)result);
            break;
        case SYS_ftruncate:
            path = of_descriptor(pid, (int)a[0], buffer);
            if (path) put(LENGTH, a[1], 0, path, "", 0);
            break;
        case SYS_truncate:
            path = of_argument(pid, AT_FDCWD, a[0], buffer);
            if (path) put(LENGTH, a[1], 0, path, "", 0);
            break;
        case SYS_fallocate:
            path = of_descriptor(pid, (int)a[0], buffer);
            if (path && a[1] != 0) {
                fprintf(stderr, "record: fallocate in mode %lu is not known to the recorder\n", (unsigned long)a[1]);
                exit(70);
            }
            if (path) put(ALLOCATE, a[2], a[3], path, "", 0);
            break;
        case SYS_rename: two_paths(pid, RENAME, AT_FDCWD, a[0], AT_FDCWD, a[1]); break;
        case SYS_renameat:
        case SYS_renameat2: two_paths(pid, RENAME, (int)a[0], a[1], (int)a[2], a[3]); break;
        case SYS_link: two_paths(pid, LINK, AT_FDCWD, a[0], AT_FDCWD, a[1]); break;
        case SYS_linkat: two_paths(pid, LINK, (int)a[0], a[1], (int)a[2], a[3]); break;
        case SYS_unlink:
            path = of_argument(pid, AT_FDCWD, a[0], buffer);
            if (path) put(UNLINK, 0, 0, path, "", 0);
            break;
        case SYS_unlinkat:
            path = of_argument(pid, (int)a[0], a[1], buffer);
            if (path) put(a[2] & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, path, "", 0);
            break;
        case SYS_rmdir:
            path = of_argument(pid, AT_FDCWD, a[0], buffer);
            if (path) put(RMDIR, 0, 0, path, "", 0);
            break;
        case SYS_mkdir:
            path = of_argument(pid, AT_FDCWD, a[0], buffer);
            if (path) put(MKDIR, 0, 0, path, "", 0);
            break;
        case SYS_mkdirat:
            path = of_argument(pid, (int)a[0], a[1], buffer);
            if (path) put(MKDIR, 0, 0, path, "", 0);
            break;
    }
}

static const int watched[] = {
    SYS_open, SYS_creat, SYS_openat, SYS_openat2, SYS_write, SYS_pwrite64, SYS_writev, SYS_pwritev, SYS_pwritev2, SYS_fsync,
    SYS_fdatasync, SYS_ftruncate, SYS_truncate, SYS_fallocate, SYS_rename, SYS_renameat, SYS_renameat2, SYS_link, SYS_linkat,
    SYS_unlink, SYS_unlinkat, SYS_rmdir, SYS_mkdir, SYS_mkdirat, SYS_io_uring_setup, SYS_sync_file_range, SYS_copy_file_range,
};
#define WATCHED (sizeof watched / sizeof *watched)

static void run(char **command) {
    struct sock_filter filter[WATCHED + 3];
    filter[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t at = 0; at < WATCHED; at++)
        filter[at + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)watched[at], (uint8_t)(WATCHED - at), 0);
    filter[WATCHED + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[WATCHED + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog program = {WATCHED + 3, filter};
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) fail("ptrace");
    raise(SIGSTOP);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) fail("seccomp");
    execvp(command[0], command);
    fail(command[0]);
}

static pid_t child;

static void forward(int number) { kill(child, number); }

int main(int count, char **arguments) {
    if (count < 4) {
        fprintf(stderr, "record OUTPUT FOLDER PROGRAM ARGUMENT...\n");
        return 64;
    }
    output = fopen(arguments[1], "wb");
    if (!output) fail(arguments[1]);
    if (!realpath(arguments[2], folder)) fail(arguments[2]);
    folder_length = strlen(folder);
    child = fork();
    if (child < 0) fail("fork");
    if (child == 0) run(arguments + 3);
    signal(SIGTERM, forward);
    int status;
    waitpid(child, &status, 0);
    long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SETOPTIONS, child, 0, options) != 0) fail("ptrace options");
    ptrace(PTRACE_CONT, child, 0, 0);
    for (;;) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0) {
            if (errno == EINTR) continue;
            break;
        }
        struct call *call = &calls[pid % CALLS];
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            call->pending = 0;
            if (pid == child) {
                fclose(output);
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            }
            continue;
        }
        int number = WSTOPSIG(status), event = status >> 16, deliver = 0, step = PTRACE_CONT;
        if (event == PTRACE_EVENT_SECCOMP) {
            struct user_regs_struct registers;
            if (ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0) {
                *call = (struct call){registers.orig_rax, {registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9}, 1, 1};
                before(pid, call);
                step = PTRACE_SYSCALL;
            }
        } else if (call->pending && number == SIGTRAP && event == 0) {
            struct user_regs_struct registers;
            call->pending = 0;
            if (ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0) after(pid, call, (int64_t)registers.rax);
        } else if (event == 0 && number != SIGTRAP && number != SIGSTOP) {
            deliver = number;
            /* A signal that comes while a call is under way: its end is still to be seen. */
            if (call->pending) step = PTRACE_SYSCALL;
        }
        ptrace(step, pid, 0, deliver);
    }
    fclose(output);
    return 0;
}
