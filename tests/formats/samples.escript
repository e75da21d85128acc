#!/usr/bin/env escript
%% Evaluates Erlang for the tests, over and over. In: an expression and the binary that is `Given` to it.
%% Out: the binary that is its value. Each comes behind its length in four bytes.

main([]) ->
    ok = io:setopts(standard_io, [binary, {encoding, latin1}]),
    answer(bytes(4)).

answer(eof) ->
    ok;
answer(<<Length:32>>) ->
    Source = bytes(Length),
    <<Size:32>> = bytes(4),
    Value = value(unicode:characters_to_list(Source), bytes(Size)),
    ok = file:write(standard_io, [<<(byte_size(Value)):32>>, Value]),
    answer(bytes(4)).

bytes(0) ->
    <<>>;
bytes(Size) ->
    case file:read(standard_io, Size) of
        {ok, Bytes} -> Bytes;
        eof -> eof
    end.

value(Source, Given) ->
    {ok, Tokens, _} = erl_scan:string(Source ++ "."),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Value, _} = erl_eval:exprs(Expressions, [{'Given', Given}]),
    Value.
