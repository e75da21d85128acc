"""The tools of the chat model: what it may do besides saying something.

| module | is about |
|---|---|
| box, stock | all of them by name, who may use which, mistakes as results; how they are made |
| tool, use, kit | one of them; one use of it; what those of one turn share |
| approval | what a person has to allow first |
| steps, polls | how many steps a turn may take; "still running", shown once |
| machine | scripts and terminals |
| subagents, children | other sessions, asked by this one; the turns that they take |
| media, pictures, work | pictures out of the work directory |
| context | this session's own history |
| pushing, looking | resources for the caller; sessions, cards, the time |
| own | the operator's own tools |
"""
