%% Asks an engine, and waits for the answer. Ref is made here so that the receive need not look at older messages.
-define(ASK(Ref, Call),
    begin
        Ref = make_ref(),
        case Call of
            ok ->
                receive
                    {Ref, Answer__} -> Answer__
                end;
            closed ->
                {error, closed};
            error ->
                {error, nomem}
        end
    end
).
%% The same with a time-out: then the question is taken back (take_back/2 of who asks), unless it was answered meanwhile.
-define(ASK_FOR(Ref, Timeout, Call, Cancel),
    begin
        Ref = make_ref(),
        case Call of
            ok ->
                receive
                    {Ref, Answer__} -> Answer__
                after Timeout -> take_back(Ref, Cancel)
                end;
            closed ->
                {error, closed};
            error ->
                {error, nomem}
        end
    end
).
