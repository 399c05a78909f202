%% @doc Options, from maps or property lists to what the core wants.
%%
%% An option is a line of the table (its name as an atom), one of TLS, or one of this API. What is none of these is
%% refused with a text that names it, and the one that was perhaps meant. Values of the table:
%%
%% <ul>
%% <li>times: milliseconds, `infinity' (never), or `{N, ns | us | ms | s | min | h}';</li>
%% <li>bytes and counts: integers;</li>
%% <li>flags: `true' and `false';</li>
%% <li>choices: atoms, as in the table;</li>
%% <li>any of them as text: `"30s"', `<<"4MiB">>', `"bbr"'.</li>
%% </ul>
%%
%% TLS has `ssl''s names: `certfile', `keyfile', `cert', `key', `certs_keys', `cacertfile', `cacerts', `verify',
%% `fail_if_no_peer_cert', `server_name_indication', `alpn', `alpn_advertised_protocols', `alpn_preferred_protocols',
%% `ciphers', `supported_groups', `keylog_file'; and of its own `system_cacerts', `pins', `self_signed', `ticket_secret',
%% `preferred_address'.
-module(weft_options).

-export([parse/3, table/0, defaults/1]).

-type scope() :: connect | listen | reload.
-type reason() :: {options, binary()}.
-export_type([scope/0, reason/0]).

%% @doc The table: `#{Name => {Type, Default, Least, Greatest, Choices, Text}}'.
-spec table() -> #{atom() => tuple()}.
table() ->
    case persistent_term:get(?MODULE, undefined) of
        undefined ->
            Table = maps:from_list([
                {Name, {Type, Default, Least, Greatest, Choices, Text}}
             || {Name, Type, Default, Least, Greatest, Choices, Text} <- weft_nif:option_table()
            ]),
            persistent_term:put(?MODULE, Table),
            Table;
        Table ->
            Table
    end.

%% What belongs to the API, by where it may be given: {Where, Default, Check}.
api() ->
    #{
        active => {[connect, listen], false, fun is_mode/1},
        stream_active => {[connect, listen], false, fun is_mode/1},
        high_watermark => {[connect, listen], 1 bsl 20, fun is_size/1},
        low_watermark => {[connect, listen], 1 bsl 18, fun is_size/1},
        timeout => {[connect], infinity, fun is_timeout/1},
        wait => {[connect], true, fun is_boolean/1},
        family => {[connect], any, fun(F) -> lists:member(F, [any, inet, inet6]) end},
        session => {[connect], <<>>, fun is_binary/1},
        token => {[connect], <<>>, fun is_binary/1},
        ip => {[listen], any, fun is_ip/1},
        accept => {[listen], connected, fun(A) -> A =:= connected orelse A =:= handshake end},
        accept_active => {[listen], false, fun is_mode/1},
        backlog => {[listen], 1024, fun is_size/1},
        ipv6_only => {[listen], false, fun is_boolean/1},
        reuse_port => {[listen], false, fun is_boolean/1},
        engine => {[connect, listen], next, fun(E) -> E =:= next orelse (is_integer(E) andalso E >= 0) end}
    }.

%% @doc Defaults of the API's own options in this scope.
-spec defaults(scope()) -> map().
defaults(Scope) ->
    maps:fold(
        fun(Name, {Where, Default, _}, Acc) ->
            case lists:member(Scope, Where) of
                true -> Acc#{Name => Default};
                false -> Acc
            end
        end,
        #{},
        api()
    ).

%% @doc `{ok, Operations, Api}': what the core is told, in order, and the API's own options with their defaults.
-spec parse(scope(), map() | [tuple() | atom()], client | server) -> {ok, [tuple()], map()} | {error, reason()}.
parse(Scope, Options, Role) ->
    try
        Map = to_map(Options),
        State0 = #{ops => [], api => defaults(Scope), scope => Scope, role => Role, all => Map, table => table()},
        Names = lists:sort(fun(A, B) -> {rank(A), A} =< {rank(B), B} end, maps:keys(Map)),
        State = lists:foldl(fun(Name, S) -> given(Name, maps:get(Name, Map), S) end, State0, Names),
        #{ops := Ops, api := Api} = State,
        maps:get(high_watermark, Api, 1) >= maps:get(low_watermark, Api, 0) orelse
            fail("low_watermark must not be above high_watermark", []),
        {ok, lists:reverse(Ops), Api}
    catch
        throw:{?MODULE, Text} -> {error, {options, Text}}
    end.

-spec fail(io:format(), [term()]) -> no_return().
fail(Format, Args) ->
    throw({?MODULE, unicode:characters_to_binary(io_lib:format(Format, Args))}).

to_map(Map) when is_map(Map) -> Map;
to_map(List) when is_list(List) ->
    try
        proplists:to_map(List)
    catch
        error:_ -> fail("options must be a map or a list of {Name, Value}", [])
    end;
to_map(_) -> fail("options must be a map or a list of {Name, Value}", []).

%% What must come after something else.
rank(verify) -> 2;
rank(fail_if_no_peer_cert) -> 3;
rank(_) -> 1.

op(Op, #{ops := Ops} = S) -> S#{ops := [Op | Ops]}.

%% Values of no sensible kind at all (improper lists, say) are met wherever one looks into them.
given(Name, Value, S) ->
    try
        option(Name, Value, S)
    catch
        error:_ -> fail("~tp: ~tp is not allowed", [Name, Value])
    end.

option(Name, Value, #{table := Table, scope := Scope, api := Api} = S) ->
    case {Table, api()} of
        {#{Name := Line}, _} ->
            limits(Name, Value, op({set, atom_to_binary(Name), value(Name, Value, Line)}, S));
        {_, #{Name := {Where, _, Check}}} ->
            lists:member(Scope, Where) orelse fail("~ts cannot be given here", [Name]),
            Check(Value) orelse fail("~ts: ~tp is not allowed", [Name, Value]),
            S#{api := Api#{Name => Value}};
        _ ->
            tls(Name, Value, S)
    end.

%% Two of the table bound queues on this side, too.
limits(Name, Value, #{api := Api} = S) when
    is_integer(Value), Name =:= datagram_receive_queue orelse Name =:= datagram_queue_count
->
    S#{api := Api#{Name => Value}};
limits(_, _, S) ->
    S.

%%% values of the table

value(_, Value, _) when is_binary(Value) -> Value;
value(_, [_ | _] = Value, _) -> text(Value);
value(_, infinity, {time, _, _, _, _, _}) -> <<"0">>;
value(_, Ms, {time, _, _, _, _, _}) when is_integer(Ms), Ms >= 0 -> <<(integer_to_binary(Ms))/binary, "ms">>;
value(_, {N, Unit}, {time, _, _, _, _, _}) when
    is_integer(N), N >= 0, Unit =:= ns orelse Unit =:= us orelse Unit =:= ms orelse Unit =:= s orelse Unit =:= h
->
    <<(integer_to_binary(N))/binary, (atom_to_binary(Unit))/binary>>;
value(_, {N, min}, {time, _, _, _, _, _}) when is_integer(N), N >= 0 ->
    <<(integer_to_binary(N))/binary, "m">>;
value(_, N, {Type, _, _, _, _, _}) when is_integer(N), N >= 0, Type =:= bytes orelse Type =:= count ->
    integer_to_binary(N);
value(_, true, {flag, _, _, _, _, _}) -> <<"on">>;
value(_, false, {flag, _, _, _, _, _}) -> <<"off">>;
value(_, Atom, {choice, _, _, _, _, _}) when is_atom(Atom) -> atom_to_binary(Atom);
value(Name, Value, {time, _, _, _, _, _}) ->
    fail("~ts: ~tp is no time; milliseconds, infinity, {N, ns | us | ms | s | min | h} or a text like \"30s\" are", [
        Name, Value
    ]);
value(Name, Value, {flag, _, _, _, _, _}) ->
    fail("~ts: ~tp is neither true nor false", [Name, Value]);
value(Name, Value, {choice, _, _, _, Choices, _}) ->
    fail("~ts: ~tp is none of ~ts", [Name, Value, lists:join(", ", Choices)]);
value(Name, Value, _) ->
    fail("~ts: ~tp is no number of at least 0, nor a text like \"4MiB\"", [Name, Value]).

text(Value) ->
    try unicode:characters_to_binary(Value) of
        Text when is_binary(Text) -> Text;
        _ -> fail("~tp is no text", [Value])
    catch
        error:_ -> fail("~tp is no text", [Value])
    end.

%%% TLS

tls(alpn, Names, S) -> op({alpn, protocols(alpn, Names)}, S);
tls(alpn_advertised_protocols, Names, #{role := client} = S) -> tls(alpn, Names, S);
tls(alpn_preferred_protocols, Names, #{role := server} = S) -> tls(alpn, Names, S);
tls(certfile, File, #{all := All} = S) ->
    Key = maps:get(keyfile, All, File),
    op({cert_files, text(File), text(Key)}, S);
tls(keyfile, _, #{all := All} = S) ->
    maps:is_key(certfile, All) orelse fail("keyfile needs certfile", []),
    S;
tls(cert, Cert, #{all := All} = S) ->
    case All of
        #{key := Key} -> cert_key(Cert, Key, S);
        _ -> fail("cert needs key", [])
    end;
tls(key, _, #{all := All} = S) ->
    maps:is_key(cert, All) orelse fail("key needs cert", []),
    S;
tls(certs_keys, List, S) when is_list(List) ->
    lists:foldl(
        fun
            (#{cert := Cert, key := Key}, Acc) -> cert_key(Cert, Key, Acc);
            (#{certfile := File} = M, Acc) -> op({cert_files, text(File), text(maps:get(keyfile, M, File))}, Acc);
            (Other, _) -> fail("certs_keys: ~tp has neither cert and key nor certfile", [Other])
        end,
        S,
        List
    );
tls(cacertfile, File, S) -> op({trust_file, text(File)}, S);
tls(cacerts, Certs, S) when is_list(Certs) ->
    lists:foldl(fun(Cert, Acc) -> op({trust, 1, der(Cert)}, Acc) end, S, Certs);
tls(cacerts, Pem, S) when is_binary(Pem) -> op({trust, 0, Pem}, S);
tls(system_cacerts, On, S) when is_boolean(On) -> op({system_trust, flag(On)}, S);
tls(verify, verify_peer, S) -> op({verify, 1}, S);
tls(verify, verify_none, S) -> op({verify, 0}, S);
tls(fail_if_no_peer_cert, true, #{role := server} = S) -> op({verify, 1}, S);
tls(fail_if_no_peer_cert, false, #{role := server, all := All} = S) ->
    maps:get(verify, All, verify_none) =:= verify_none orelse
        fail("fail_if_no_peer_cert: a server that verifies its clients wants their certificates", []),
    S;
tls(server_name_indication, Name, #{role := client, api := Api} = S) ->
    S#{api := Api#{server_name => text(Name)}};
tls(ciphers, Names, S) -> op({ciphers, colons(ciphers, Names)}, S);
tls(supported_groups, Names, S) -> op({groups, colons(supported_groups, Names)}, S);
tls(keylog_file, File, S) -> op({keylog, text(File)}, S);
tls(pins, Pins, S) when is_list(Pins) ->
    lists:foldl(
        fun
            (Pin, Acc) when byte_size(Pin) =:= 32 -> op({pin, Pin}, Acc);
            (Pin, _) -> fail("pins: ~tp is no SHA-256 of 32 bytes", [Pin])
        end,
        S,
        Pins
    );
tls(self_signed, {Names, Days}, S) when is_integer(Days) -> op({self_signed, text(Names), Days}, S);
tls(self_signed, Names, S) -> op({self_signed, text(Names), 30}, S);
tls(ticket_secret, {Secret, Seconds}, #{role := server} = S) when byte_size(Secret) =:= 32, is_integer(Seconds) ->
    op({ticket_secret, Secret, Seconds}, S);
tls(ticket_secret, Secret, #{role := server} = S) when byte_size(Secret) =:= 32 ->
    op({ticket_secret, Secret, 7200}, S);
tls(preferred_address, {V4, V6}, #{role := server} = S) ->
    op({preferred_address, text([V4]), text([V6])}, S);
tls(Name, Value, S) ->
    case lists:member(Name, tls_names()) of
        true -> fail("~ts: ~tp is not allowed~ts", [Name, Value, role_hint(Name, S)]);
        false -> unknown(Name, S)
    end.

tls_names() ->
    [
        alpn, alpn_advertised_protocols, alpn_preferred_protocols, certfile, keyfile, cert, key, certs_keys, cacertfile,
        cacerts, system_cacerts, verify, fail_if_no_peer_cert, server_name_indication, ciphers, supported_groups,
        keylog_file, pins, self_signed, ticket_secret, preferred_address
    ].

role_hint(Name, #{role := client}) when
    Name =:= alpn_preferred_protocols; Name =:= fail_if_no_peer_cert; Name =:= ticket_secret; Name =:= preferred_address
->
    " (it is a server's)";
role_hint(Name, #{role := server}) when Name =:= alpn_advertised_protocols; Name =:= server_name_indication ->
    " (it is a client's)";
role_hint(_, _) ->
    "".

-spec unknown(term(), map()) -> no_return().
unknown(Name, #{table := Table}) ->
    Known = maps:keys(Table) ++ maps:keys(api()) ++ tls_names(),
    Text = lists:flatten(io_lib:format("~tp", [Name])),
    {Likeness, Nearest} = lists:max([{likeness(pairs(Text), pairs(atom_to_list(K))), K} || K <- Known]),
    case Likeness > 0.5 of
        true -> fail("unknown option ~ts; did you mean ~ts?", [Text, Nearest]);
        false -> fail("unknown option ~ts", [Text])
    end.

%% How many pairs of letters two words share: 0.0 to 1.0.
likeness(A, B) ->
    2 * (length(A) - length(A -- B)) / max(1, length(A) + length(B)).

pairs([A, B | Rest]) -> [{A, B} | pairs([B | Rest])];
pairs(_) -> [].

flag(true) -> 1;
flag(false) -> 0.

protocols(Name, List) when is_list(List), List =/= [], not is_integer(hd(List)) ->
    iolist_to_binary(lists:join($,, [protocol(Name, P) || P <- List]));
protocols(Name, One) when is_list(One); is_binary(One) -> protocol(Name, One);
protocols(Name, Other) -> fail("~ts: ~tp is no list of names", [Name, Other]).

protocol(Name, P) when is_list(P); is_binary(P) ->
    try iolist_to_binary(P) of
        <<>> -> fail("~ts: an empty name", [Name]);
        Text -> Text
    catch
        error:badarg -> fail("~ts: ~tp is no name: bytes are", [Name, P])
    end;
protocol(Name, P) -> fail("~ts: ~tp is no name", [Name, P]).

%% "A:B", ["A", "B"], or ssl's atoms.
colons(Name, [First | _] = List) when not is_integer(First) ->
    iolist_to_binary(lists:join($:, [cipher(Name, C) || C <- List]));
colons(_, Text) when is_list(Text); is_binary(Text) -> text(Text);
colons(Name, Other) -> fail("~ts: ~tp is no list of names", [Name, Other]).

cipher(_, C) when is_list(C); is_binary(C) -> text(C);
cipher(_, x25519) -> <<"X25519">>;
cipher(_, secp256r1) -> <<"P-256">>;
cipher(_, secp384r1) -> <<"P-384">>;
cipher(_, secp521r1) -> <<"P-521">>;
cipher(Name, C) -> fail("~ts: ~tp is no name", [Name, C]).

cert_key(Cert, {Type, Der}, S) when is_atom(Type), is_binary(Der) ->
    %% ssl's form: DER, as one certificate or a chain. The core reads a chain from PEM.
    Chain = [der(C) || C <- if is_list(Cert) -> Cert; true -> [Cert] end],
    Pem = public_key:pem_encode([{'Certificate', C, not_encrypted} || C <- Chain]),
    op({cert, 0, Pem, public_key:pem_encode([{Type, Der, not_encrypted}])}, S);
cert_key(Cert, Key, S) when is_binary(Cert), is_binary(Key) ->
    op({cert, 0, Cert, Key}, S);
cert_key(_, Key, _) ->
    fail("key: neither {Type, Der} nor PEM: ~tp", [Key]).

der(Der) when is_binary(Der) -> Der;
der({cert, Der, _}) when is_binary(Der) -> Der;
der(Other) -> fail("~tp is no certificate (DER, or public_key's #cert{})", [Other]).

%%% checks

is_mode(M) when is_boolean(M); M =:= once -> true;
is_mode(N) -> is_integer(N) andalso N >= -32768 andalso N =< 32767.

is_size(N) -> is_integer(N) andalso N >= 0 andalso N < 1 bsl 32.

is_timeout(infinity) -> true;
is_timeout(N) -> is_integer(N) andalso N >= 0.

is_ip(any) -> true;
is_ip(loopback) -> true;
is_ip(Ip) when is_tuple(Ip) -> inet:ntoa(Ip) =/= {error, einval};
is_ip(Text) -> is_list(Text) orelse is_binary(Text).
