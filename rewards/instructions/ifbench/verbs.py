"""Whether an English word may be a form of a verb: common verbs, with their endings by rule."""

from __future__ import annotations

_FORMS = """
be am is are was were been being have has had having do does did done doing go goes went gone
'm 're 've 's
"""
"""Of the verbs whose forms follow no rule at all; may, can, will and the like are left out."""
_IRREGULAR = """
arise arose arisen awake awoke awoken bear bore borne beat beaten become became begin began begun
bend bent bet bid bind bound bite bit bitten bleed bled blow blew blown break broke broken breed
bred bring brought build built burn burnt burst buy bought catch caught choose chose chosen cling
clung come came cost creep crept cut deal dealt dig dug draw drew drawn dream dreamt drink drank
drunk drive drove driven eat ate eaten fall fell fallen feed fed feel felt fight fought find found
flee fled fling flung fly flew flown forbid forbade forbidden foresee foresaw foreseen forget forgot
forgotten forgive forgave forgiven freeze froze frozen get got gotten give gave given grind ground
grow grew grown hang hung hear heard hide hid hidden hit hold held hurt keep kept kneel knelt know
knew known lay laid lead led lean leant leap leapt learn learnt leave left lend lent let lie lain
light lit lose lost make made mean meant meet met mistake mistook mistaken overcome overcame pay
paid prove proven put quit read rebuild rebuilt rewrite rewrote rewritten rid ride rode ridden ring
rang rung rise rose risen run ran saw sawn say said see seen seek sought sell sold send sent set sew
sewn shake shook shaken shed shine shone shoot shot show shown shrink shrank shrunk shut sing sang
sung sink sank sunk sit sat sleep slept slide slid sow sown speak spoke spoken speed sped spell
spelt spend spent spin spun spit spat split spread spring sprang sprung stand stood steal stole
stolen stick stuck sting stung strike struck strive strove striven swear swore sworn sweep swept
swim swam swum swing swung take took taken teach taught tear tore torn tell told think thought throw
threw thrown understand understood undertake undertook undo undid undone upset wake woke woken wear
wore worn weave wove woven weep wept win won wind wound withdraw withdrew withdrawn write wrote
written
"""
_REGULAR = """
abandon absorb accept access accompany accomplish account accuse achieve acknowledge acquire act
adapt add address adjust admire admit adopt advance advise affect afford agree aid aim align allow
alter amaze analyze analyse announce annoy answer anticipate apologize appear apply appoint
appreciate approach approve argue arrange arrest arrive ask assemble assert assess assign assist
associate assume assure attach attack attain attempt attend attract avoid await back bake balance
ban base bathe battle beg behave believe belong benefit blame blend bless block boast boil book
boost borrow bother bounce bow brave breathe brew brush burst bury calculate call calm cancel
capture care carry carve cast cause cease celebrate challenge change charge chase chat check cheer
cherish chew chop circulate claim clarify clean clear click climb close collaborate collect combine
comfort command comment commit communicate compare compete compile complain complete compose
comprehend compress compute conceal concentrate concern conclude conduct confess confirm confront
confuse connect conquer consider consist construct consult consume contact contain continue
contribute control convert convey convince cook cool cope copy correct count cover crack craft crash
crawl create cross crush cry cultivate cure curl cycle damage dance dare dash debate decay decide
declare decline decorate decrease dedicate define delay delete deliver demand demonstrate deny
depend depict derive describe deserve design desire destroy detect determine develop devise differ
dine direct disagree disappear discover discuss dismiss display distinguish distribute disturb dive
divide dominate donate double doubt download draft drag drain dress drift drop dry dwell earn echo
edit educate elaborate elect eliminate embark embrace emerge emphasize employ empower enable
encounter encourage end endure engage enhance enjoy ensure enter entertain equip erase escape
establish estimate evaluate evolve examine exceed exchange excite execute exercise exist expand
expect experience experiment explain explode exploit explore export expose express extend extract
face facilitate fail fasten fear feature fetch fill film filter finish fire fit fix flash flatten
flip float flood flow focus fold follow force forecast form formulate foster frame fry fuel fulfil
fulfill function fund gain gather gaze generate glance glow grab graduate grant grasp greet grin
guarantee guard guess guide halt handle happen harm harvest hate haul heal heat help hesitate
highlight hike hire honor honour hope host hug hunt hurry identify ignite ignore illustrate imagine
imitate implement imply import impose impress improve include incorporate increase indicate
influence inform inherit initiate inject innovate inquire insert insist inspect inspire install
instruct integrate intend interact interpret interrupt introduce invent invest investigate invite
involve isolate issue join joke journey judge jump justify kick kill kiss knit knock label land last
laugh launch leverage license lift like limit link list listen live load locate lock log look love
lower maintain manage manipulate manufacture map march mark marry master match matter maximize
measure melt memorize mention merge migrate mind minimize mix model modify monitor motivate mount
move multiply name narrate navigate need neglect negotiate nod note notice notify nourish nurture
obey observe obtain occupy occur offer open operate oppose optimize order organize originate outline
overlook owe own pack paint park participate pass paste pause perceive perform permit persist
persuade phone pick picture place plan plant play plead please plot plow plunge point polish ponder
pose position possess post pour power practice practise praise pray predict prefer prepare present
preserve press pretend prevent print prioritize proceed process produce program progress promise
promote prompt pronounce propose protect provide publish pull pump punch punish purchase pursue push
question race rain raise range rank rate reach react realize recall receive recite recognize
recommend record recover recycle reduce refer refine reflect refuse regard register regret regulate
reject relate relax release rely remain remember remind remove render renew rent repair repeat
replace reply report represent request require rescue research resemble reserve resist resolve
respect respond rest restore restrict result retain retire retrieve return reveal reverse review
revise reward roam roar roast roll rotate rub ruin rule rush sail satisfy save savor savour scale
scan scatter schedule scratch scream search secure seem seize select separate serve settle shape
share sharpen shift ship shop shout sigh sign signal simplify simulate sketch skip slice slip smell
smile smoke solve sort sound spark specialize specify sprinkle squeeze stage stare start state stay
steer step stir stop store strengthen stress stretch struggle study submit substitute succeed suffer
suggest suit summarize supply support suppose surround survive suspect sustain swallow switch
symbolize tackle talk tap target taste tease tempt tend test thank thrive tie tighten toss touch
tour trace track trade train transfer transform translate transmit transport trap travel treat trust
try tune turn type unite unlock unravel update upgrade upload urge use utilize validate value vanish
vary venture verify view visit visualize vote wait walk wander want warm warn wash waste watch water
wave weigh welcome whip whisper wipe wish witness wonder work worry wrap yell yield zoom
"""
VOWELS = frozenset("aeiou")


def _inflected(base: str) -> set[str]:
    """The base with -s, -ing and -ed, as they are spelt."""
    stem = base
    is_short = len(base) > 2 and base[-1] not in "aeiouwxy" and base[-2] in VOWELS
    if base.endswith("e") and not base.endswith(("ee", "ye", "oe")):
        stem = base[:-1]
    elif is_short and base[-3] not in VOWELS:
        stem = base + base[-1]
    ending = "es" if base.endswith(("s", "x", "z", "ch", "sh", "o")) else "s"
    if base.endswith("y") and base[-2] not in VOWELS:
        return {base, f"{base[:-1]}ies", f"{base}ing", f"{base[:-1]}ied"}
    # long words double their last letter only where it is stressed, which no rule tells
    both = {stem, base if stem != base[:-1] else stem}
    return {base, base + ending, *(f"{each}{end}" for each in both for end in ("ing", "ed"))}


VERBS = frozenset(_FORMS.split()) | {
    form for base in [*_IRREGULAR.split(), *_REGULAR.split()] for form in _inflected(base)
}


def may_be_verb(word: str) -> bool:
    """Whether a word may be one, in any case ("Love" may, "Lovely" may not).

    Example:
        may_be_verb("Imagine")      # True
    """
    return word.lower() in VERBS
