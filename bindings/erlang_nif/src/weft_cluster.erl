%% @doc Listeners of a cluster of nodes: groups in `pg' (scope `weft'), and how many connections each node has.
%%
%% The servers of a fleet share keys, so that any of them can take a client over: application variable `fleet_secret'
%% (32 bytes: address tokens, stateless resets) and the listen option `ticket_secret' (sessions), the same on all nodes.
-module(weft_cluster).

-export([join/2, leave/2, members/1, count/1, addresses/1, start_link/0]).

%% @private
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() -> pg:start_link(weft).

%% @doc Puts a {@link weft_listener} of this node into a group; it leaves when it ends.
-spec join(term(), pid()) -> ok.
join(Group, Listener) -> pg:join(weft, Group, Listener).

%% @doc Takes it out of the group: nobody finds it there any more; its connections stay.
-spec leave(term(), pid()) -> ok | not_joined.
leave(Group, Listener) -> pg:leave(weft, Group, Listener).

%% @doc The group's listeners on all nodes.
-spec members(term()) -> [pid()].
members(Group) -> pg:get_members(weft, Group).

%% @doc Connections of the group's listeners, by node. A node that does not answer within five seconds is left out.
-spec count(term()) -> #{node() => non_neg_integer()}.
count(Group) ->
    lists:foldl(
        fun({Node, N}, Acc) -> maps:update_with(Node, fun(Sum) -> Sum + N end, N, Acc) end,
        #{},
        ask(Group, count)
    ).

%% @doc Where the group's listeners are bound.
-spec addresses(term()) -> [{node(), weft:address()}].
addresses(Group) -> [{Node, Address} || {Node, {ok, Address}} <- ask(Group, sockname)].

ask(Group, What) ->
    Members = members(Group),
    Calls = [{node(Pid), erpc:send_request(node(Pid), weft_listener, What, [Pid])} || Pid <- Members],
    lists:append([
        try
            [{Node, erpc:receive_response(Request, 5000)}]
        catch
            _:_ -> []
        end
     || {Node, Request} <- Calls
    ]).
