%% Asks an engine, and waits for the answer as Await says. Ref is made here so that the receive need not look at older messages.
-define(ASKED(Ref, Call, Await),
    begin
        Ref = make_ref(),
        case Call of
            ok -> Await;
            closed -> {error, closed};
            error -> {error, nomem}
        end
    end
).
-define(ASK(Ref, Call), ?ASKED(Ref, Call, receive {Ref, Answer__} -> Answer__ end)).
