"""What we say to bash, and the marks by which it answers.

    ESC ] 7777 ; NONCE ; begin BEL    what follows is the output of the script with that nonce
    ESC ] 7777 ; NONCE ; kept BEL     the shell ends, and has left its state for the next one
    ESC ] 7777 ; NONCE ; CODE BEL     it is back at its prompt; the last command ended with CODE

A mark goes to /dev/tty, since a script may have sent stdout elsewhere. It comes before each prompt, so a
SIGINT that throws bash out of a script is an end too. A script is a file that the shell reads with `.`: what
it changes lasts, and a quote that it leaves open ends with the file. The shell leaves its state before each
script, for the case that the script kills it, and again when it exits.
"""

import shlex

MARK = b"\x1b]7777;"
BEGIN, KEPT = b"begin", b"kept"

_RC = r"""
__eai_prompt() { builtin printf '\033]7777;%s;%s\007' "$__eai_nonce" "$?" >/dev/tty; }
__eai_save() {
    {
        builtin declare -p
        builtin declare -f
        builtin alias -p
        builtin umask -p
        builtin printf 'builtin cd -- %q\n' "$PWD"
    } >|"$__eai_state"
} 2>/dev/null
__eai_exit() { __eai_save && builtin printf '\033]7777;%s;kept\007' "$__eai_nonce" >/dev/tty; }
__eai_begin() {
    __eai_nonce=$1
    __eai_save
    builtin printf '\033]7777;%s;begin\007' "$1" >/dev/tty
}
__eai_end() {
    builtin set -- "$?"
    builtin set +euxv -m
    PROMPT_COMMAND=__eai_prompt
    builtin return "$1"
}
__eai_settle() {
    __eai_nonce=$1 __eai_state=$2
    builtin unset HISTFILE MAILCHECK MAIL MAILPATH TMOUT PROMPT_COMMAND
    PS1= PS2= PROMPT_COMMAND=__eai_prompt
    builtin set +o history
    builtin set +H
    builtin trap __eai_exit EXIT
    builtin readonly -f __eai_prompt __eai_save __eai_exit __eai_begin __eai_end __eai_settle
}
PS1= PS2= PROMPT_COMMAND=__eai_prompt __eai_nonce="""


def rc(nonce: str) -> str:
    """What a new shell reads first; then it shows the prompt with that nonce."""
    return f"{_RC}{nonce}\n"


def settling(nonce: str, state: str) -> bytes:
    """The line that gives a new shell the state that the former one left in the file, if it did."""
    kept = shlex.quote(state)
    return f" builtin . {kept} </dev/null >/dev/null 2>&1; __eai_settle {nonce} {kept}\n".encode()


def starting(nonce: str, script: str) -> bytes:
    """The line that runs the script of that path."""
    # With `set -x` the last command would be shown as part of the output.
    return f" __eai_begin {nonce}; builtin . {shlex.quote(script)}; {{ __eai_end; }} 2>/dev/null\n".encode()


def asking(nonce: str) -> bytes:
    """The line after which the shell shows the prompt with that nonce, and does nothing else."""
    return f"\n __eai_nonce={nonce}\n".encode()
