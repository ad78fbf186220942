"""What travels as JSON: one msgspec Struct each, one module a subject. The OpenAPI document is made of them.

Moments are epoch seconds (UTC); None stands for "until a parent says otherwise". Days of the week are 0 = Monday .. 6.
Times of day are minutes after midnight by the household's clock. Dates are ISO texts, `2026-11-22`. Unknown keys are
refused. Texts that children, devices or the network chose are plain text: a page must never read them as HTML.
"""
