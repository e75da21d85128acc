r"""What we say to bash, and the marks by which it answers.

    ESC ] 7777 ; NONCE ; 1000 BEL    what follows is the output of the script with that nonce
    ESC ] 7777 ; NONCE ; 2000 BEL    it is back at its prompt, but did not run our commands
    ESC ] 7777 ; NONCE ; CODE BEL    it is back at its prompt; the last command ended with CODE

The mark of the end comes before a prompt, so a SIGINT that throws bash out of a script is an end too. After
it the shell reads and drops what was typed, up to the word GO: what a script left unread is never a command.
Then comes the prompt itself, which is a mark too: it holds the nonce if what should come before it did not.

A script is a file that the shell reads with `.`: what it changes lasts, and a quote that it leaves open ends
with the file. Its traps on EXIT, ERR, DEBUG and RETURN end with it, and descriptors 0 to 2 are the terminal
again. The shell leaves its state before each script, for the case that the script kills it, and again when it
exits; the file ends with WHOLE, and never holds a nonce, which other programs could read there.

Words are quoted with \ since a script may have made aliases of them. What it spoils so that the shell could
not go on, such as a variable of ours that it made readonly, ends the shell; the next one has none of it.
"""

import shlex

MARK = b"\x1b]7777;"
BEGIN, MUTE = b"1000", b"2000"
"""Digits, since a terminal may be told to print no small letters."""
GO = "__eai_go"
BEGINNING, LEAVING, TRAP = "new", "left", "trap"
"""What is added to the name of the state file: before a script, at the end, and for a trap on EXIT."""
WHOLE = ": __eai_whole\n"

_RC = r"""
__eai_tty() { [[ -t 0 && -t 1 && -t 2 ]] || exec </dev/tty >/dev/tty 2>&1; }
__eai_save() {
    [[ ${__eai_state-} && ! -p $__eai_state.$1 ]] || builtin return
    builtin trap '' XFSZ
    {
        builtin declare -p && builtin declare -f && builtin alias -p && builtin umask -p &&
            builtin printf 'builtin cd -- %q\n: __eai_whole\n' "$PWD"
    } 2>/dev/null >|"$__eai_state.$1"
    builtin trap - XFSZ
}
__eai_exit() {
    builtin set +eu
    builtin unset -v __eai_nonce
    __eai_save left
}
exit() {
    builtin set -- "${1-$?}"
    [[ $BASHPID != "$$" ]] || __eai_exit
    builtin exit "$1"
}
__eai_begin() {
    __eai_save new
    builtin jobs >/dev/null 2>&1
    builtin printf '\033]7777;%s;1000\007' "$1"
    __eai_nonce=$1
}
__eai_end() {
    builtin set +euxv -m
    builtin unset -v PS1 PROMPT_COMMAND __eai_nonce __eai_code || builtin exit "$2"
    PS1=$__eai_mute PROMPT_COMMAND='\__eai_prompt' __eai_nonce=$1 __eai_code=$2
}
__eai_last() {
    builtin local REPLY=
    builtin trap '' XFSZ
    [[ -p $__eai_state.trap ]] || {
        builtin trap -p EXIT >|"$__eai_state.trap" && builtin read -r -d '' <"$__eai_state.trap"
    } 2>/dev/null
    builtin trap - XFSZ
    builtin trap '\__eai_exit' EXIT
    [[ $REPLY != *'\__eai_exit'* ]] && builtin eval "builtin set -- $REPLY" && builtin eval "${3-}"
}
__eai_gate() {
    builtin local REPLY= TMOUT n
    for ((n = 0; n < 1000; n++)); do
        builtin read -r
        [[ $REPLY != __eai_go ]] || builtin return
    done
    builtin exit "$1"
}
__eai_prompt() {
    builtin set -- "${__eai_code-$?}"
    builtin set +euxv -m
    __eai_tty
    [[ ${__eai_state-} && ${__eai_nonce-} ]] && __eai_last
    [[ ! ${__eai_nonce-} ]] || builtin printf '\033]7777;%s;%s\007' "$__eai_nonce" "$1" || builtin exit "$1"
    builtin unset -v __eai_nonce __eai_code && [[ $- != *r* ]] && : </dev/null || builtin exit "$1"
    __eai_gate "$1"
}
__eai_settle() {
    builtin readonly __eai_state=$2 __eai_mute='\e]7777;${__eai_nonce-};2000\a'
    builtin unset -v HISTFILE MAILCHECK MAIL MAILPATH TMOUT PROMPT_COMMAND
    PS1=$__eai_mute PS2= PROMPT_COMMAND='\__eai_prompt' __eai_nonce=$1
    builtin set +o history
    builtin set +H
    builtin trap '\__eai_exit' EXIT
}
builtin readonly -f __eai_tty __eai_save __eai_exit __eai_begin __eai_end
builtin readonly -f __eai_last __eai_gate __eai_prompt __eai_settle
PS1= PS2= PROMPT_COMMAND='\__eai_prompt' __eai_nonce="""
_NO_TRAPS = r"\builtin trap - DEBUG ERR RETURN"
_NOT_KEPT = r"'^declare -[^ ]+ (__eai_|PROMPT_COMMAND|PS1)'"


def rc(nonce: str) -> str:
    """What a new shell reads first; then it shows the prompt with that nonce."""
    return f"{_RC}{nonce}\n"


def settling(nonce: str, state: str) -> bytes:
    """What gives a new shell the state that the former one left in the file, if it did."""
    kept = shlex.quote(state)
    load = rf'\builtin eval "$(LC_ALL=C \command grep -aEv {_NOT_KEPT} {kept})"'
    return _typed(
        rf"{{ [[ -f {kept} && ! -L {kept} ]] && {load}; }} </dev/null >/dev/null 2>&1;"
        rf" \__eai_settle {nonce} {kept}"
    )


def starting(nonce: str, script: str) -> bytes:
    """What runs the script of that path."""
    # A trap on DEBUG that the script set, and `set -x`, would show our last commands as part of the output.
    return _typed(
        rf"{_NO_TRAPS}; \__eai_begin {nonce}; \builtin . {shlex.quote(script)};"
        rf' {{ \__eai_end {nonce} "$?"; {_NO_TRAPS}; }} >/dev/null 2>&1'
    )


def _typed(line: str) -> bytes:
    """What is typed for a command; the first newline ends what was typed by half before."""
    return f"\n{GO}\n {line}\n".encode()
